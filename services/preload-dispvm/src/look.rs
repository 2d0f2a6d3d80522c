//! Looking: what lies in the places of a template, and what the hypervisor says of it.

use crate::templates::Templates;
use crate::{Shared, squeeze};
use disposable::keeper::{Delay, Domain, Limits, Seen, View};
use disposable::queue::{Listed, Place};
use hypervisor::Hypervisor;
use names::QubeName;
use std::time::Duration;

/// What lies in the places of one template. `is_making` tells of a label whether this very process is at it. A full look
/// asks the hypervisor about each waiting disposable.
pub(crate) fn view(
    shared: &Shared,
    template: &QubeName,
    templates: &Templates,
    is_making: impl Fn(&str) -> bool,
    full: bool,
) -> std::io::Result<View> {
    let queue = shared.queue(template)?;
    let none = Limits { max: 0, delay: Delay::After(Duration::ZERO) };
    let limits = templates.limits(template).unwrap_or(none);
    let mut seen = Vec::new();
    let mut waiting = 0;
    // Entries move down the places while we look: reading upwards may miss one, but never sees one twice, which would
    // look like one too many.
    for place in Place::ALL.into_iter().rev() {
        for Listed { file, entry, claimer } in queue.list(place)? {
            waiting += usize::from(place <= Place::Ready);
            let making = is_making(&file);
            let owner_lives = claimer.is_some_and(|claimer| claimer.is_alive());
            let domain = match &entry {
                Some(entry) if full && place == Place::Ready => check(shared, entry),
                _ => Domain::Unchecked,
            };
            seen.push(Seen { place, file, entry, making, owner_lives, domain });
        }
    }
    let has_room = waiting < limits.max;
    let affordable =
        if has_room { squeeze::affordable(shared, template, templates.threshold()) } else { usize::MAX };
    Ok(View { template: template.clone(), limits, generation: queue.generation()?, affordable, seen })
}

fn check(shared: &Shared, entry: &disposable::entry::Entry) -> Domain {
    match shared.hypervisor.info(entry.domid) {
        Ok(Some(info)) if info.uuid != entry.uuid || info.dying => Domain::Gone,
        Ok(Some(info)) if info.paused => Domain::Paused,
        Ok(Some(_)) => Domain::Running,
        Ok(None) => Domain::Gone,
        Err(error) => {
            log::warn!("cannot look at {}: {error}", entry.name);
            Domain::Unchecked
        }
    }
}
