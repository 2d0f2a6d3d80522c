//! Making one disposable: create, start, check, pause, enqueue.

use crate::watch::Reason;
use crate::{Shared, WHO};
use disposable::entry::Entry;
use disposable::queue::{Place, Reservation};
use hypervisor::Hypervisor;
use names::{DomId, Generation, QubeName, QubeRef, Uuid};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{SystemTime, UNIX_EPOCH};
use trace::Event;

/// Runs in a thread of its own, so that one that hangs holds up no other.
pub(crate) fn in_background(
    shared: &Arc<Shared>,
    template: &QubeName,
    reservation: Reservation,
    reasons: &Sender<Reason>,
) {
    let (shared, template, sender) = (shared.clone(), template.clone(), reasons.clone());
    let label = reservation.label.clone();
    let failed = Reason::StartFailed { template: template.clone(), label: label.clone() };
    let work = move || {
        let reason = match make(&shared, &template, &reservation) {
            Ok(()) => Reason::Started { template, label },
            Err(error) => {
                shared.tell(Event::now(WHO, "not-preloaded", template.as_str(), error));
                Reason::StartFailed { template, label }
            }
        };
        // The keeper that no longer listens is about to end.
        drop(sender.send(reason));
    };
    if std::thread::Builder::new().name("start".into()).spawn(work).is_err() {
        drop(reasons.send(failed));
    }
}

fn make(shared: &Shared, template: &QubeName, reservation: &Reservation) -> Result<(), String> {
    let begun = os::monotonic_ns();
    let queue = shared.queue(template).map_err(|error| failure("open the queue of", template, error))?;
    // Read before the disposable exists: what changes meanwhile makes it stale.
    let generation =
        queue.generation().map_err(|error| failure("read the generation of", template, error))?;
    let uuid = shared
        .admin
        .create_disposable(&QubeRef::Name(template.clone()))
        .map_err(|error| failure("create a disposable of", template, error))?;
    let result = bring_up(shared, template, generation, uuid, reservation, &queue);
    match result {
        Ok(name) => {
            let ready = queue.count(Place::Ready).unwrap_or(0);
            let text = format!("{name} preloaded: started, checked, paused");
            shared.tell(Event::now(WHO, "preloaded", name.as_str(), text).since(begun).with("ready", ready));
            Ok(())
        }
        Err(error) => {
            if let Err(kill) = crate::destroy::end(shared, &QubeRef::Uuid(uuid)) {
                log::error!("cannot destroy the disposable that failed: {kill}");
            }
            // A failed one leaves the queue at once (users.md M3).
            if let Err(forget) = queue.forget(Place::Starting, &reservation.label) {
                log::error!("cannot free the room of the disposable that failed: {forget}");
            }
            Err(error)
        }
    }
}

fn bring_up(
    shared: &Shared,
    template: &QubeName,
    generation: Generation,
    uuid: Uuid,
    reservation: &Reservation,
    queue: &disposable::queue::Queue,
) -> Result<QubeName, String> {
    let qube = QubeRef::Uuid(uuid);
    let name = shared.admin.name_of(&qube).map_err(|error| failure("learn the name of", &qube, error))?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let template = template.clone();
    let mut entry =
        Entry { name: name.clone(), uuid, domid: DomId::DOM0, template, generation, created, claimer: None };
    let note =
        |entry: &Entry| queue.note(reservation, entry).map_err(|error| failure("note", &entry.name, error));
    note(&entry)?;
    let feature = |feature, value| {
        shared.admin.feature_set(&qube, feature, value).map_err(|error| failure("mark", &name, error))
    };
    feature("preload-dispvm-in-progress", "1")?;
    feature("internal", "1")?;
    shared.admin.start(&qube).map_err(|error| failure("start", &name, error))?;
    entry.domid =
        domid_of(shared, &name).ok_or_else(|| failure("find the domain id of", &name, "no qrexec socket"))?;
    healthy(shared, &name)?;
    shared.hypervisor.pause(entry.domid).map_err(|error| failure("pause", &name, error))?;
    note(&entry)?;
    feature("preload-dispvm-completed", "1")?;
    feature("preload-dispvm-in-progress", "")?;
    match queue.enqueue(reservation) {
        Ok(true) => Ok(name),
        Ok(false) => Err(failure("enqueue", &name, "its reservation was taken away meanwhile")),
        Err(error) => Err(failure("enqueue", &name, error)),
    }
}

/// The service that says that a qube is up (spec/disposables.md R61).
fn healthy(shared: &Shared, name: &QubeName) -> Result<(), String> {
    let vchan = vchan::Config { dir: shared.config.vchan_directory.clone(), own: DomId::DOM0 };
    let client = qrexec::client::Client { socket_dir: shared.config.qrexec_sockets.clone(), vchan };
    let service = "qubes.WaitForRunningSystem";
    let command = format!("DEFAULT:QUBESRPC {service}+ dom0");
    match crate::look::run_quietly(&client, name, &command, shared.config.start_timeout) {
        Ok(0) => Ok(()),
        Ok(code) => Err(failure("check", name, format!("{service} ended with exit code {code}"))),
        Err(cause) => Err(failure("check", name, format!("{service}: {cause}"))),
    }
}

/// The daemon's socket of a qube is named by domain id; the name is a link to it (spec/qrexec-wire.md 1.4).
fn domid_of(shared: &Shared, name: &QubeName) -> Option<DomId> {
    let link = std::fs::read_link(shared.config.qrexec_sockets.join(format!("qrexec.{name}"))).ok()?;
    link.file_name()?.to_str()?.strip_prefix("qrexec.")?.parse().ok()
}

fn failure(step: &str, object: &dyn Display, cause: impl Display) -> String {
    format!("cannot {step} {object}: {cause}")
}
