//! Claim, verify, wake: a paused disposable of the queue becomes a running one that belongs to this call.

use crate::entry::Entry;
use crate::queue::{Claimed, LockError, Queue};
use hypervisor::{DomainInfo, Hypervisor};
use os::process::ProcessId;

/// What became of the attempt to take a preloaded disposable.
#[derive(Debug)]
pub struct Taken<'a> {
    /// The running disposable; `None` when no usable one was ready.
    pub disposable: Option<Claimed<'a>>,
    /// Why others were passed over, one sentence each; they are on their way to be destroyed.
    pub passed_over: Vec<String>,
    /// When the claim was done and when the wake-up was, in nanoseconds of `CLOCK_MONOTONIC`.
    pub claimed_ns: u64,
    /// See `claimed_ns`.
    pub woken_ns: u64,
}

/// Takes entries, oldest first, until one is what it says it is and has woken (promises P1 to P3).
///
/// # Errors
/// The queue's lock was not to be had; the caller starts cold (promise P11).
pub fn take<'a>(queue: &'a Queue, hypervisor: &dyn Hypervisor) -> Result<Taken<'a>, LockError> {
    let mut taken = Taken { disposable: None, passed_over: Vec::new(), claimed_ns: 0, woken_ns: 0 };
    let claimer = ProcessId::own();
    loop {
        let claim = queue.claim(claimer)?;
        taken.claimed_ns = os::monotonic_ns();
        let reasons = claim
            .discarded
            .into_iter()
            .map(|entry| format!("{} was passed over: {}", entry.name, entry.reason));
        taken.passed_over.extend(reasons);
        let Some(claimed) = claim.claimed else { return Ok(taken) };
        match wake(claimed.entry(), hypervisor) {
            Ok(()) => {
                taken.woken_ns = os::monotonic_ns();
                taken.disposable = Some(claimed);
                return Ok(taken);
            }
            // Dropping the claim sends the disposable to be destroyed; it never returns to the queue.
            Err(reason) => taken.passed_over.push(format!("{} was passed over: {reason}", claimed.name())),
        }
    }
}

/// Verifies, wakes, and verifies that it is awake.
fn wake(entry: &Entry, hypervisor: &dyn Hypervisor) -> Result<(), String> {
    let look = || hypervisor.info(entry.domid).map_err(|error| error.to_string());
    verify(entry, look()?.as_ref())?;
    hypervisor.unpause(entry.domid).map_err(|error| error.to_string())?;
    // Xen counts pauses: when somebody else paused it too, it sleeps on and would hang the call (design, P3).
    match look()? {
        Some(info) if info.paused => {
            Err("it is still paused after its wake-up: somebody else paused it too".into())
        }
        Some(_) => Ok(()),
        None => Err("it died when it was woken".into()),
    }
}

/// Whether the hypervisor's domain is the disposable of the entry, asleep and well. Pure.
///
/// # Errors
/// One sentence that says what differs.
pub fn verify(entry: &Entry, info: Option<&DomainInfo>) -> Result<(), String> {
    let info = info.ok_or_else(|| format!("domain {} does not exist", entry.domid))?;
    if info.uuid != entry.uuid || info.name != entry.name {
        return Err(format!("domain {} is now {} (uuid {})", entry.domid, info.name, info.uuid));
    }
    if info.dying {
        return Err("it is dying".into());
    }
    if !info.paused {
        return Err("it was already running: somebody else woke it".into());
    }
    Ok(())
}
