//! Ending disposables: those that are done, those that nobody owns, and all of them at the end.

use crate::watch::Reason;
use crate::{Shared, WHO, recover};
use admin::{AdminError, ErrorClass};
use disposable::entry::Entry;
use disposable::queue::{Listed, Place, Queue, Reservation};
use names::{QubeName, QubeRef};
use os::process::ProcessId;
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
    let queue =
        shared.queue(template).map_err(|error| format!("cannot open the queue of {template}: {error}"))?;
    // Whoever had it may have noted what it is after it was looked at, and then have died.
    let noted = || -> std::io::Result<Option<Entry>> {
        let mut listed = queue.list(place)?.into_iter();
        Ok(listed.find(|listed| listed.file == file).and_then(|listed| listed.entry))
    };
    let entry = match entry {
        Some(entry) => Some(entry.clone()),
        None => noted().map_err(|error| format!("cannot read {file} of {template}: {error}"))?,
    };
    if let Some(entry) = entry {
        end(shared, &QubeRef::Uuid(entry.uuid))
            .map_err(|error| format!("cannot destroy {}: {error}", entry.name))?;
        let text = format!("{} destroyed, with everything in it", entry.name);
        shared.tell(Event::now(WHO, "destroyed", entry.name.as_str(), text).since(begun));
    } else if Reservation::starter(file).is_some_and(|starter| starter != ProcessId::own()) {
        recover::unnoted(shared, template)
            .map_err(|error| format!("cannot look for what {file} of {template} had become: {error}"))?;
    }
    queue
        .forget(place, file)
        .map_err(|error| format!("cannot remove {file} from the queue of {template}: {error}"))
}

pub(crate) fn end(shared: &Shared, qube: &QubeRef) -> Result<(), AdminError> {
    disposable::cold::end(&shared.admin, qube)
}

/// What only a waiting disposable has is taken off one that was handed over (R84); in a thread of its own, since nobody
/// waits for it.
pub(crate) fn release(shared: &Arc<Shared>, entry: Entry) {
    let shared = shared.clone();
    let work = move || {
        let qube = QubeRef::Uuid(entry.uuid);
        let template = QubeRef::Name(entry.template.clone());
        let is_internal = shared.admin.feature_get(&template, "internal");
        let keep = matches!(is_internal, Ok(Some(value)) if !value.is_empty());
        let features = ["preload-dispvm-in-progress", "internal"];
        for feature in features.into_iter().filter(|feature| !(keep && *feature == "internal")) {
            match shared.admin.feature_remove(&qube, feature) {
                Err(error) if !is_harmless(&error) => {
                    log::warn!("{}: feature {feature} stays: {error}", entry.name);
                }
                _ => {}
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("release".into()).spawn(work) {
        log::error!("cannot start a thread: {error}");
    }
}

/// Not set, not ours to set, or gone with its qube.
fn is_harmless(error: &AdminError) -> bool {
    let gone = [ErrorClass::QubesFeatureNotFoundError, ErrorClass::QubesVMNotFoundError];
    crate::start::is_not_ours(error) || error.class().is_some_and(|class| gone.contains(class))
}

/// Destroys everything that waits. What is being made loses its reservation; as long as nobody knows which disposable that
/// is, `is_making` tells of its label that a thread of this process ends it. Returns how many were destroyed.
pub(crate) fn all_waiting(shared: &Arc<Shared>, is_making: impl Fn(&str) -> bool) -> usize {
    let mut doomed = Vec::new();
    for template in Queue::templates(&shared.config.queue).unwrap_or_default() {
        match doom(shared, &template) {
            Ok(listed) => doomed.extend(listed.into_iter().map(|listed| (template.clone(), listed))),
            Err(error) => log::error!("{WHO}: cannot empty the queue of {template}: {error}"),
        }
    }
    // What became of those that another process had wanted takes longer to find out than there is time now.
    let is_own = |label: &str| Reservation::starter(label) == Some(ProcessId::own());
    doomed.retain(|(_, Listed { file, entry, .. })| entry.is_some() || is_own(file) && !is_making(file));
    let threads: Vec<_> = doomed
        .into_iter()
        .map(|(template, Listed { file, entry, .. })| {
            let shared = shared.clone();
            std::thread::spawn(move || destroy(&shared, &template, Place::Done, &file, entry.as_ref()))
        })
        .collect();
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

/// Moves what waits to those that are to be destroyed; what lies there then. A claim that comes meanwhile starts cold: its
/// disposable is not ours to end.
fn doom(shared: &Shared, template: &QubeName) -> std::io::Result<Vec<Listed>> {
    let queue = shared.queue(template)?;
    for place in [Place::Starting, Place::Ready] {
        for listed in queue.list(place)? {
            queue.discard(place, &listed.file)?;
        }
    }
    queue.list(Place::Done)
}
