//! Making one disposable: create, start, check, squeeze, pause, enqueue; or hand it over running to a call that reserved
//! it meanwhile (M2).

use crate::check::{self, Nudge, Verdict};
use crate::squeeze::{self, LONGEST_SQUEEZE};
use crate::watch::Reason;
use crate::{Shared, WHO};
use admin::{AdminError, ErrorClass};
use disposable::entry::Entry;
use disposable::keeper::Failure;
use disposable::queue::{Place, Queue, Reservation, Standing, StartFailure};
use hypervisor::Hypervisor;
use names::{DomId, Generation, QubeName, QubeRef, Uuid};
use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{SystemTime, UNIX_EPOCH};
use trace::Event;

/// Runs in a thread of its own, so that one that hangs holds up no other. Returns how to tell it that its reservation
/// moved.
pub(crate) fn in_background(
    shared: &Arc<Shared>,
    template: &QubeName,
    reservation: Reservation,
    reasons: &Sender<Reason>,
) -> Sender<Nudge> {
    let (shared, template, sender) = (shared.clone(), template.clone(), reasons.clone());
    let (nudge, nudges) = mpsc::channel();
    let own = nudge.clone();
    let label = reservation.label.clone();
    let failed = Reason::StartFailed {
        template: template.clone(),
        label: label.clone(),
        failure: Some(Failure::Start),
    };
    let work = move || {
        let reason = match make(&shared, &template, &reservation, (&own, &nudges)) {
            Ok(()) => Reason::Started { template, label },
            Err(failed) => {
                shared.tell(Event::now(WHO, "not-preloaded", template.as_str(), failed.to_string()));
                Reason::StartFailed {
                    template,
                    label,
                    failure: Some(failed.kind).filter(|_| !failed.was_taken),
                }
            }
        };
        // The keeper that no longer listens is about to end.
        drop(sender.send(reason));
    };
    if std::thread::Builder::new().name("start".into()).spawn(work).is_err() {
        drop(reasons.send(failed));
    }
    nudge
}

/// Why a disposable was not made.
#[derive(Debug)]
struct Failed {
    kind: Failure,
    /// With its object, after "cannot".
    step: String,
    cause: String,
    /// Its reservation was taken away meanwhile, and its disposable perhaps killed: nothing is wrong with the template.
    was_taken: bool,
}

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.step, self.cause)
    }
}

type Nudges<'a> = (&'a Sender<Nudge>, &'a Receiver<Nudge>);

fn make(
    shared: &Shared,
    template: &QubeName,
    reservation: &Reservation,
    nudges: Nudges<'_>,
) -> Result<(), Failed> {
    let begun = os::monotonic_ns();
    let queue = shared.queue(template).map_err(|error| failure("open the queue of", template, error))?;
    let mut created = None;
    let result = bring_up(shared, template, reservation, &queue, &mut created, nudges);
    match result {
        Ok((name, made)) => {
            let ready = queue.count(Place::Ready).unwrap_or(0);
            let event = match made {
                Made::Preloaded => Event::now(
                    WHO,
                    "preloaded",
                    name.as_str(),
                    format!("{name} preloaded: started, checked, paused"),
                ),
                Made::HandedOver => Event::now(
                    WHO,
                    "handed-over",
                    name.as_str(),
                    format!("{name} handed over to a call that waited"),
                ),
            };
            shared.tell(event.since(begun).with("ready", ready));
            if let Err(error) = queue.forget_failure() {
                log::warn!("cannot forget the last failure of {template}: {error}");
            }
            Ok(())
        }
        Err(mut failed) => {
            failed.was_taken = matches!(queue.standing(reservation), Ok(Standing::Gone));
            // Before it leaves the queue: whoever sees that none starts any more finds the reason.
            remember(&queue, template, &failed);
            undo(shared, reservation, &queue, created);
            Err(failed)
        }
    }
}

/// Keeps the reason for whoever asks why so few wait.
fn remember(queue: &Queue, template: &QubeName, failed: &Failed) {
    if failed.was_taken {
        return;
    }
    let remedy = match failed.kind {
        Failure::Check => format!(
            "\"qvm-dispvm doctor {template}\" tells what {template} lacks; else \"qvm-dispvm run --dispvm={template} systemd-analyze blame\" tells what is slow"
        ),
        Failure::Start => {
            format!("qubesd's journal tells more; \"qvm-dispvm run --dispvm={template} true\" tries one")
        }
    };
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let failure = StartFailure { time, step: failed.step.clone(), cause: failed.cause.clone(), remedy };
    if let Err(error) = queue.note_failure(&failure) {
        log::warn!("cannot note the failure for {template}: {error}");
    }
}

/// A failed one leaves the queue at once (users.md M3). Its file stays until its domain is gone: the keeper tries again
/// what fails here.
fn undo(shared: &Shared, reservation: &Reservation, queue: &Queue, created: Option<Uuid>) {
    if let Err(error) = queue.abandon(reservation) {
        log::error!("cannot free the room of the disposable that failed: {error}");
    }
    if let Some(uuid) = created {
        if let Err(error) = crate::destroy::end(shared, &QubeRef::Uuid(uuid)) {
            log::error!("cannot destroy the disposable that failed: {error}");
        }
    }
}

enum Made {
    Preloaded,
    HandedOver,
}

fn bring_up(
    shared: &Shared,
    template: &QubeName,
    reservation: &Reservation,
    queue: &Queue,
    created: &mut Option<Uuid>,
    nudges: Nudges<'_>,
) -> Result<(QubeName, Made), Failed> {
    check::unsupported(shared, template).map_err(|missing| unhealthy("preload", template, missing))?;
    // Read before the disposable exists: what changes meanwhile makes it stale.
    let generation =
        queue.generation().map_err(|error| failure("read the generation of", template, error))?;
    let uuid = shared
        .admin
        .create_disposable(&QubeRef::Name(template.clone()))
        .map_err(|error| failure("create a disposable of", template, error))?;
    *created = Some(uuid);
    let mut entry = entry_of(shared, template, generation, uuid)?;
    let name = entry.name.clone();
    let making = Making { shared, queue, reservation, name: &name };
    making.note(&entry)?;
    mark(shared, uuid, "preload-dispvm-in-progress", "1")?;
    mark(shared, uuid, "internal", "1")?;
    // Whoever hears of the start asks whether it is one that waits (R106).
    shared.lists.show(shared, template);
    shared.admin.start(&QubeRef::Uuid(uuid)).map_err(|error| failure("start", &name, error))?;
    entry.domid =
        domid_of(shared, &name).ok_or_else(|| failure("find the domain id of", &name, "no qrexec socket"))?;
    // Anything may have happened to the reservation during the start; from here on moves come as nudges.
    if making.note(&entry)? == Next::HandOver {
        return making.hand_over(&entry);
    }
    let still_waits = || matches!(queue.standing(reservation), Ok(Standing::Waiting));
    let verdict = check::healthy(shared, &name, template, nudges, still_waits)
        .map_err(|cause| unhealthy("check", &name, cause))?;
    if matches!(verdict, Verdict::Moved) && making.next()? == Next::HandOver {
        return making.hand_over(&entry);
    }
    let squeezing = squeeze::begin(shared, &QubeRef::Uuid(uuid), entry.domid, nudges.0);
    if squeezing.map_err(|error| failure("squeeze", &name, error))? {
        check::squeezed_or_moved(nudges.1, LONGEST_SQUEEZE, still_waits);
        if making.next()? == Next::HandOver {
            return making.hand_over(&entry);
        }
    }
    shared.hypervisor.pause(entry.domid).map_err(|error| failure("pause", &name, error))?;
    mark(shared, uuid, "preload-dispvm-completed", "1")?;
    mark(shared, uuid, "preload-dispvm-in-progress", "")?;
    if queue.enqueue(reservation).map_err(|error| failure("enqueue", &name, error))? {
        return Ok((name, Made::Preloaded));
    }
    // Reserved while it was being paused: nobody but this thread can have paused it, so one wake-up wakes it.
    making.next()?;
    shared.hypervisor.unpause(entry.domid).map_err(|error| failure("wake", &name, error))?;
    making.hand_over(&entry)
}

/// One reservation and its disposable.
struct Making<'a> {
    shared: &'a Shared,
    queue: &'a Queue,
    reservation: &'a Reservation,
    name: &'a QubeName,
}

#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    HandOver,
}

impl Making<'_> {
    fn note(&self, entry: &Entry) -> Result<Next, Failed> {
        self.judge(self.queue.note(self.reservation, entry))
    }

    fn next(&self) -> Result<Next, Failed> {
        self.judge(self.queue.standing(self.reservation))
    }

    fn judge(&self, standing: std::io::Result<Standing>) -> Result<Next, Failed> {
        match standing.map_err(|error| failure("note", self.name, error))? {
            Standing::Waiting => Ok(Next::GoOn),
            Standing::Reserved(_) => Ok(Next::HandOver),
            Standing::Gone => Err(failure("keep", self.name, "its reservation was taken away meanwhile")),
        }
    }

    fn hand_over(&self, entry: &Entry) -> Result<(QubeName, Made), Failed> {
        log::debug!("{}: reserved while it started", self.shared.config.queue.display());
        self.judge(self.queue.hand_over(self.reservation, entry))?;
        Ok((self.name.clone(), Made::HandedOver))
    }
}

fn entry_of(
    shared: &Shared,
    template: &QubeName,
    generation: Generation,
    uuid: Uuid,
) -> Result<Entry, Failed> {
    let qube = QubeRef::Uuid(uuid);
    let name = shared.admin.name_of(&qube).map_err(|error| failure("learn the name of", &qube, error))?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let template = template.clone();
    Ok(Entry { name, uuid, domid: DomId::DOM0, template, generation, created, claimer: None })
}

/// Features for clients. qubesd keeps the preload features for itself (R20): there they are not ours to set.
fn mark(shared: &Shared, uuid: Uuid, feature: &str, value: &str) -> Result<(), Failed> {
    match shared.admin.feature_set(&QubeRef::Uuid(uuid), feature, value) {
        Err(error) if !is_not_ours(&error) => Err(failure("mark", &QubeRef::Uuid(uuid), error)),
        _ => Ok(()),
    }
}

pub(crate) fn is_not_ours(error: &AdminError) -> bool {
    error.class() == Some(&ErrorClass::PermissionDenied)
}

/// The daemon's socket of a qube is named by domain id; the name is a link to it (spec/qrexec-wire.md 1.4).
fn domid_of(shared: &Shared, name: &QubeName) -> Option<DomId> {
    let link = std::fs::read_link(shared.config.qrexec_sockets.join(format!("qrexec.{name}"))).ok()?;
    link.file_name()?.to_str()?.strip_prefix("qrexec.")?.parse().ok()
}

fn failure(step: &str, object: &dyn Display, cause: impl Display) -> Failed {
    Failed {
        kind: Failure::Start,
        step: format!("{step} {object}"),
        cause: cause.to_string(),
        was_taken: false,
    }
}

fn unhealthy(step: &str, object: &dyn Display, cause: impl Display) -> Failed {
    Failed { kind: Failure::Check, ..failure(step, object, cause) }
}
