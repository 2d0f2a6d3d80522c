//! What no event told: what changed, and what was left, while no keeper listened (promise P5).

use crate::Shared;
use crate::destroy::end;
use admin::{AdminError, PowerState, QubeClass, QubeLine};
use disposable::keeper::fingerprint;
use disposable::queue::{self, Place, Queue};
use names::{QubeName, QubeRef};
use std::collections::HashSet;
use std::time::Duration;

/// At the keeper's start, before anything else: counters, temporary files, places left by another boot. What lies in the
/// places themselves is repaired by the first look.
pub(crate) fn queues(shared: &Shared) -> Result<(), String> {
    let root = &shared.config.queue;
    let of_another_boot =
        queue::is_of_another_boot(root).map_err(|error| format!("cannot read the boot: {error}"))?;
    for template in Queue::templates(root).unwrap_or_default() {
        let repair = || -> std::io::Result<()> {
            let queue = shared.queue(&template)?;
            queue.recover()?;
            if of_another_boot {
                for place in [Place::Starting, Place::Ready, Place::Claimed, Place::Used] {
                    for listed in queue.list(place)? {
                        queue.discard(place, &listed.file)?;
                    }
                }
            }
            Ok(())
        };
        repair().map_err(|error| format!("cannot repair the queue of {template}: {error}"))?;
    }
    queue::note_boot(root).map_err(|error| format!("cannot note the boot: {error}"))
}

/// Disposables that a killed keeper had begun to make and had marked, and that no place knows (spec/disposables.md R116).
pub(crate) fn strays(shared: &Shared) {
    let lines = disposables(shared).unwrap_or_else(|error| {
        log::warn!("cannot list the qubes: {error}");
        Vec::new()
    });
    for line in lines.into_iter().filter(|line| !is_known(shared, &line.name)) {
        let marked = shared.admin.feature_get(&QubeRef::Uuid(line.uuid), "preload-dispvm-in-progress");
        if matches!(marked, Ok(Some(value)) if !value.is_empty()) {
            end_stray(shared, &line);
        }
    }
}

/// Disposables of this template that somebody had created, or had asked qubesd for, when it was killed before it could note
/// which. Such a one is halted, and all that is noted is that one was wanted. Somebody else's halted one is started within
/// moments: only one that is still halted at a second look is ended. Takes a while.
pub(crate) fn unnoted(shared: &Shared, template: &QubeName) -> Result<(), AdminError> {
    let mut suspects = HashSet::new();
    // qubesd may still be about to create it when its client is dead.
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(MOMENTS);
        }
        let mut halted = HashSet::new();
        for line in disposables(shared)? {
            if line.state == PowerState::Halted
                && !is_known(shared, &line.name)
                && is_of(shared, &QubeRef::Uuid(line.uuid), template)
            {
                halted.insert(line.uuid);
                if suspects.contains(&line.uuid) {
                    end_stray(shared, &line);
                }
            }
        }
        suspects = halted;
    }
    Ok(())
}

fn end_stray(shared: &Shared, line: &QubeLine) {
    match end(shared, &QubeRef::Uuid(line.uuid)) {
        Ok(()) => log::info!("{} destroyed: whoever had begun to make it is dead", line.name),
        Err(error) => log::error!("cannot destroy {}: {error}", line.name),
    }
}

fn disposables(shared: &Shared) -> Result<Vec<QubeLine>, AdminError> {
    Ok(shared.admin.list()?.into_iter().filter(|line| line.class == QubeClass::DispVM).collect())
}

/// Whether it is an unnamed disposable of this template; named ones are never ours (M4).
fn is_of(shared: &Shared, qube: &QubeRef, template: &QubeName) -> bool {
    let property = |name| shared.admin.property_get(qube, name);
    property("auto_cleanup").is_ok_and(|value| value.is_true())
        && property("template").is_ok_and(|value| value.value == template.as_str())
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

/// Compares a template with what it was like when its disposables were made. After this, and as long as events come, its
/// generation can be trusted. Tells whether it could be compared.
pub(crate) fn compare(shared: &Shared, template: &QubeName) -> bool {
    let compare = || -> Result<(), String> {
        let now = fingerprint_of(shared, template)?;
        let queue = shared.queue(template).map_err(|error| error.to_string())?;
        if queue.refresh(&now).map_err(|error| error.to_string())? {
            log::info!("{template} is not what it was when its disposables were made, if there are any");
        } else if queue.count(Place::Starting).is_ok_and(|count| count == 0)
            && is_outdated(shared, template) == Some(true)
        {
            made_stale(shared, template, "volumes");
        }
        Ok(())
    };
    match compare() {
        Ok(()) => true,
        Err(error) => {
            log::error!("cannot compare {template} with its disposables: {error}");
            false
        }
    }
}

/// Bumps the generation of a template that has changed.
pub(crate) fn made_stale(shared: &Shared, template: &QubeName, cause: &str) {
    let bump = || -> Result<(), String> {
        let queue = shared.queue(template).map_err(|error| error.to_string())?;
        let generation = queue.bump_generation().map_err(|error| error.to_string())?;
        log::info!("{template} has changed ({cause}): generation {generation}");
        let now = fingerprint_of(shared, template)?;
        queue.store_fingerprint(&now).map_err(|error| error.to_string())
    };
    if let Err(error) = bump() {
        log::error!("cannot bump the generation of {template}: {error}");
    }
}

fn fingerprint_of(shared: &Shared, template: &QubeName) -> Result<String, String> {
    match shared.admin.call("admin.vm.property.GetAll", "", template.as_str(), b"") {
        Ok(bytes) => Ok(fingerprint(&String::from_utf8_lossy(&bytes))),
        // A template that is gone is like nothing that was.
        Err(error) if error.class() == Some(&admin::ErrorClass::QubesVMNotFoundError) => Ok(String::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// R90: whether the volumes of a waiting disposable of this template are outdated; `None` where nobody knows volumes.
pub(crate) fn is_outdated(shared: &Shared, template: &QubeName) -> Option<bool> {
    let queue = shared.queue(template).ok()?;
    // One that is starting has taken its snapshots at a time that nobody noted.
    let mut outdated = queue.count(Place::Starting).ok()? > 0;
    for listed in queue.list(Place::Ready).ok()? {
        let Some(entry) = listed.entry else { continue };
        for volume in ["root", "private"] {
            let qube = QubeRef::Uuid(entry.uuid).to_string();
            let info = shared.admin.call("admin.vm.volume.Info", volume, &qube, b"").ok()?;
            outdated |= String::from_utf8_lossy(&info).lines().any(|line| line == "is_outdated=True");
        }
    }
    Some(outdated)
}

/// Longer than anybody leaves between creating a disposable and starting it.
const MOMENTS: Duration = Duration::from_secs(5);
const LOOKS: usize = 3;
