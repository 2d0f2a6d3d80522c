//! Ending disposables: those that are done, those that nobody owns, and all of them at the end.

use crate::watch::Reason;
use crate::{Shared, WHO};
use admin::{AdminError, ErrorClass, QubeClass};
use disposable::entry::Entry;
use disposable::queue::{Place, Queue};
use names::{QubeName, QubeRef};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use trace::Event;

/// Runs in a thread of its own: a kill may take long (users.md M49).
pub(crate) fn in_background(
    shared: &Arc<Shared>,
    template: &QubeName,
    place: Place,
    file: String,
    entry: Option<Entry>,
    reasons: &Sender<Reason>,
) {
    let (shared, template, sender) = (shared.clone(), template.clone(), reasons.clone());
    let failed = Reason::NotDestroyed { template: template.clone(), place, file: file.clone() };
    let work = move || {
        if let Err(error) = destroy(&shared, &template, place, &file, entry.as_ref()) {
            log::error!("{error}");
            drop(sender.send(Reason::NotDestroyed { template, place, file }));
        }
    };
    if std::thread::Builder::new().name("destroy".into()).spawn(work).is_err() {
        drop(reasons.send(failed));
    }
}

fn destroy(
    shared: &Shared,
    template: &QubeName,
    place: Place,
    file: &str,
    entry: Option<&Entry>,
) -> Result<(), String> {
    let begun = os::monotonic_ns();
    if let Some(entry) = entry {
        end(shared, &QubeRef::Uuid(entry.uuid))
            .map_err(|error| format!("cannot destroy {}: {error}", entry.name))?;
        let text = format!("{} destroyed, with everything in it", entry.name);
        shared.tell(Event::now(WHO, "destroyed", entry.name.as_str(), text).since(begun));
    }
    let queue =
        shared.queue(template).map_err(|error| format!("cannot open the queue of {template}: {error}"))?;
    queue
        .forget(place, file)
        .map_err(|error| format!("cannot remove {file} from the queue of {template}: {error}"))
}

/// Kills a disposable and sees that it is gone. That it is gone already is a success.
pub(crate) fn end(shared: &Shared, qube: &QubeRef) -> Result<(), AdminError> {
    match shared.admin.kill(qube) {
        Ok(()) => Ok(()),
        Err(error) if error.class() == Some(&ErrorClass::QubesVMNotFoundError) => Ok(()),
        // Created, never started: killing does not remove it.
        Err(error) if error.class() == Some(&ErrorClass::QubesVMNotStartedError) => {
            match shared.admin.remove(qube) {
                Err(error) if error.class() != Some(&ErrorClass::QubesVMNotFoundError) => Err(error),
                _ => Ok(()),
            }
        }
        Err(error) => Err(error),
    }
}

/// Disposables that a killed keeper had begun to make and that no place knows (spec/disposables.md R116).
pub(crate) fn strays(shared: &Shared) {
    let qubes = match shared.admin.list() {
        Ok(qubes) => qubes,
        Err(error) => {
            log::warn!("cannot list the qubes: {error}");
            return;
        }
    };
    for line in qubes.into_iter().filter(|line| line.class == QubeClass::DispVM) {
        let qube = QubeRef::Name(line.name.clone());
        let begun = shared.admin.feature_get(&qube, "preload-dispvm-in-progress");
        let is_begun = matches!(begun, Ok(Some(value)) if !value.is_empty());
        if is_begun && !is_known(shared, &line.name) {
            match end(shared, &qube) {
                Ok(()) => log::info!("{} destroyed: an earlier keeper had begun to make it", line.name),
                Err(error) => log::error!("cannot destroy {}: {error}", line.name),
            }
        }
    }
}

fn is_known(shared: &Shared, name: &QubeName) -> bool {
    Queue::templates(&shared.config.queue).unwrap_or_default().iter().any(|template| {
        let Ok(queue) = shared.queue(template) else { return true };
        Place::ALL.into_iter().any(|place| {
            // In doubt it is known: then the next look decides.
            queue.list(place).map_or(true, |listed| {
                listed.iter().filter_map(|file| file.entry.as_ref()).any(|entry| entry.name == *name)
            })
        })
    })
}

/// Destroys everything that waits. Returns how many.
pub(crate) fn all_waiting(shared: &Arc<Shared>) -> usize {
    let mut waiting = Vec::new();
    for template in Queue::templates(&shared.config.queue).unwrap_or_default() {
        let Ok(queue) = shared.queue(&template) else { continue };
        for place in [Place::Starting, Place::Ready, Place::Done] {
            waiting.extend(
                queue
                    .list(place)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|listed| (template.clone(), place, listed)),
            );
        }
    }
    let mut threads = Vec::new();
    for (template, place, listed) in waiting {
        let shared = shared.clone();
        threads.push(std::thread::spawn(move || {
            let queue = shared.queue(&template).map_err(|error| error.to_string())?;
            if place != Place::Done
                && !queue.discard(place, &listed.file).map_err(|error| error.to_string())?
            {
                return Ok(());
            }
            destroy(&shared, &template, Place::Done, &listed.file, listed.entry.as_ref())
        }));
    }
    let count = threads.len();
    for thread in threads {
        match thread.join() {
            Ok(Err(error)) => log::error!("{WHO}: {error}"),
            Ok(Ok(())) => {}
            Err(_) => log::error!("{WHO}: a thread that destroys ended early"),
        }
    }
    count
}
