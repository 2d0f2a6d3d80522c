//! A call to a disposable made for it (spec/qrexec-wire.md 6.4).

use super::error::CallError;
use super::request::Job;
use admin::{AdminError, Client, ErrorClass};
use names::QubeRef;
use policy::protocol::Grant;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The disposables that live for calls of this daemon. What is in it when the daemon ends is killed.
#[derive(Debug, Default)]
pub(super) struct Register {
    names: Mutex<BTreeSet<String>>,
}

/// A disposable of this daemon. Killed when dropped, so that no way out of a call leaves it behind.
struct Disposable<'a> {
    job: &'a Job,
    qube: QubeRef,
}

/// Creates a disposable of `template`, runs the command in it, waits for the end of the call, and kills it.
pub(super) fn serve(job: &Job, grant: &Grant, template: &str, command: &str) -> Result<(), CallError> {
    if !grant.autostart {
        return Err(CallError::NotRunning(grant.socket_name().to_owned()));
    }
    let disposable = Disposable::create(job, template, grant.target_uuid.is_some())?;
    start_qube(&job.desk.qubesd, &disposable.qube)?;
    let accepted = job.start_for(&disposable.qube.to_string(), command)?;
    job.connect_to(&accepted)?;
    accepted.wait_for_end(None).map_err(CallError::Target).map(drop)
}

/// Starts a qube by the name that the policy gave, unless it runs.
pub(super) fn start(job: &Job, target: &str) -> Result<(), CallError> {
    start_qube(&job.desk.qubesd, &reference(target)?)
}

impl<'a> Disposable<'a> {
    fn create(job: &'a Job, template: &str, by_uuid: bool) -> Result<Self, CallError> {
        let template = reference(template)?;
        let made = if by_uuid {
            job.desk.qubesd.create_disposable(&template).map(QubeRef::Uuid)
        } else {
            create_named(&job.desk.qubesd, &template)
        };
        let qube = made.map_err(|error| CallError::Qubesd("creating a disposable", error))?;
        job.desk.disposables.names().insert(qube.to_string());
        Ok(Self { job, qube })
    }
}

impl Drop for Disposable<'_> {
    fn drop(&mut self) {
        let desk = &self.job.desk;
        // Who takes the name out kills it: this, or the daemon's end.
        if desk.disposables.names().remove(&self.qube.to_string()) {
            kill(&desk.qubesd, &self.qube);
        }
    }
}

impl Register {
    /// Kills all that are left. For the end of the daemon, which must not take long.
    pub(super) fn kill_all(&self, qubesd: &Client) {
        let left = std::mem::take(&mut *self.names());
        let qubesd = qubesd.clone().with_limit(LAST_LIMIT);
        for qube in left.iter().filter_map(|name| name.parse().ok()) {
            kill(&qubesd, &qube);
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The older form of the question, whose answer is a name.
fn create_named(qubesd: &Client, template: &QubeRef) -> Result<QubeRef, AdminError> {
    const METHOD: &str = "admin.vm.CreateDisposable";
    let answer = qubesd.call(METHOD, "", &template.to_string(), b"")?;
    std::str::from_utf8(&answer).ok().and_then(|name| name.parse().ok()).map(QubeRef::Name).ok_or_else(|| {
        AdminError::Protocol { question: format!("{METHOD} on {template}"), reason: "no name of a qube" }
    })
}

fn start_qube(qubesd: &Client, qube: &QubeRef) -> Result<(), CallError> {
    match qubesd.start(qube) {
        Err(error) if error.class() != Some(&ErrorClass::QubesVMNotHaltedError) => {
            Err(CallError::Qubesd("starting the target", error))
        }
        _ => Ok(()),
    }
}

fn kill(qubesd: &Client, qube: &QubeRef) {
    match qubesd.kill(qube) {
        // It has ended by itself, and a disposable that has ended is gone.
        Err(error)
            if matches!(
                error.class(),
                Some(ErrorClass::QubesVMNotStartedError | ErrorClass::QubesVMNotFoundError)
            ) => {}
        Err(error) => log::error!("killing disposable {qube}: {error}"),
        Ok(()) => {}
    }
}

fn reference(target: &str) -> Result<QubeRef, CallError> {
    target.parse().map_err(|_| CallError::BadTarget(names::printable(target.as_bytes()).to_string()))
}

/// For each question at the end of the daemon.
const LAST_LIMIT: Duration = Duration::from_secs(10);
