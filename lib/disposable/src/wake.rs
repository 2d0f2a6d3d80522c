//! Claim, verify, wake: a paused disposable of the queue becomes a running one that belongs to this call.

use crate::entry::Entry;
use crate::queue::{Claim, ClaimOrReserved, Claimed, LockError, Outcome, Queue};
use hypervisor::{DomainInfo, Hypervisor};
use os::process::ProcessId;
use std::time::Duration;

/// What became of the attempt to take a preloaded disposable, and what was prepared for it.
#[derive(Debug)]
pub struct Taken<'a, P = ()> {
    /// The running disposable; `None` when no usable one was ready.
    pub disposable: Option<(Claimed<'a>, P)>,
    /// Why others were passed over, one sentence each; they are on their way to be destroyed.
    pub passed_over: Vec<String>,
    /// When the claim was done and when the wake-up was, in nanoseconds of `CLOCK_MONOTONIC`.
    pub claimed_ns: u64,
    /// See `claimed_ns`.
    pub woken_ns: u64,
}

impl<P> Taken<'_, P> {
    const fn none() -> Self {
        Self { disposable: None, passed_over: Vec::new(), claimed_ns: 0, woken_ns: 0 }
    }
}

/// Takes entries, oldest first, until one is what it says it is and has woken (promises P1 to P3).
///
/// # Errors
/// The queue's lock was not to be had; the caller starts cold (promise P11).
pub fn take<'a>(queue: &'a Queue, hypervisor: &dyn Hypervisor) -> Result<Taken<'a>, LockError> {
    take_from(queue, hypervisor, &|_| Ok(()), None)
}

/// As [`take`]; `prepare` is done for each disposable that was claimed and verified, before its wake-up: it is given the
/// tags of its creator, for example ([`crate::creator`]). One that cannot be prepared is passed over.
///
/// # Errors
/// As [`take`].
pub fn take_prepared<'a, P>(
    queue: &'a Queue,
    hypervisor: &dyn Hypervisor,
    prepare: &dyn Fn(&Entry) -> Result<P, String>,
) -> Result<Taken<'a, P>, LockError> {
    take_from(queue, hypervisor, prepare, None)
}

fn take_from<'a, P>(
    queue: &'a Queue,
    hypervisor: &dyn Hypervisor,
    prepare: &dyn Fn(&Entry) -> Result<P, String>,
    mut first: Option<Claim<'a>>,
) -> Result<Taken<'a, P>, LockError> {
    let mut taken = Taken::none();
    let claimer = ProcessId::own();
    loop {
        let claim = match first.take() {
            Some(claim) => claim,
            None => queue.claim(claimer)?,
        };
        taken.claimed_ns = os::monotonic_ns();
        let reasons = claim
            .discarded
            .into_iter()
            .map(|entry| format!("{} was passed over: {}", entry.name, entry.reason));
        taken.passed_over.extend(reasons);
        let Some(claimed) = claim.claimed else { return Ok(taken) };
        match wake(claimed.entry(), hypervisor, prepare) {
            Ok(prepared) => {
                taken.woken_ns = os::monotonic_ns();
                taken.disposable = Some((claimed, prepared));
                return Ok(taken);
            }
            // Dropping the claim sends the disposable to be destroyed; it never returns to the queue.
            Err(reason) => taken.passed_over.push(format!("{} was passed over: {reason}", claimed.name())),
        }
    }
}

/// When none is ready: reserves the oldest disposable that is starting and waits for it, at most `bound` (M2; upstream
/// 1.2 times the start's own time-out, spec/disposables.md R80, R82). It comes running: never checked, squeezed or paused.
///
/// # Errors
/// The queue's lock was not to be had or the queue cannot be watched; the caller starts cold (promise P11).
pub fn await_reserved<'a>(
    queue: &'a Queue,
    hypervisor: &dyn Hypervisor,
    bound: Duration,
) -> Result<Taken<'a>, LockError> {
    let mut taken = Taken::none();
    let claimer = ProcessId::own();
    let reserved = match queue.claim_or_reserve(claimer)? {
        ClaimOrReserved::Reserved(reserved) => reserved,
        ClaimOrReserved::Claim(Claim { claimed: None, discarded }) if discarded.is_empty() => {
            return Ok(taken);
        }
        // One became ready since the caller looked; verified and woken like any other.
        ClaimOrReserved::Claim(claim) => return take_from(queue, hypervisor, &|_| Ok(()), Some(claim)),
    };
    taken.claimed_ns = os::monotonic_ns();
    let label = reserved.label().to_owned();
    match reserved.wait(bound).map_err(LockError::Io)? {
        Outcome::Failed(reason) => taken.passed_over.push(format!("{label} was passed over: {reason}")),
        Outcome::Awake(claimed) => {
            let info = hypervisor.info(claimed.entry().domid).map_err(|error| error.to_string());
            match info.and_then(|info| verify_running(claimed.entry(), info.as_ref())) {
                Ok(()) => {
                    taken.woken_ns = os::monotonic_ns();
                    taken.disposable = Some((claimed, ()));
                }
                Err(reason) => {
                    taken.passed_over.push(format!("{} was passed over: {reason}", claimed.name()));
                }
            }
        }
    }
    Ok(taken)
}

/// Verifies, prepares, wakes, and verifies that it is awake.
fn wake<P>(
    entry: &Entry,
    hypervisor: &dyn Hypervisor,
    prepare: &dyn Fn(&Entry) -> Result<P, String>,
) -> Result<P, String> {
    let look = || hypervisor.info(entry.domid).map_err(|error| error.to_string());
    verify(entry, look()?.as_ref())?;
    let prepared = prepare(entry)?;
    hypervisor.unpause(entry.domid).map_err(|error| error.to_string())?;
    // Xen counts pauses: when somebody else paused it too, it sleeps on and would hang the call (design, P3).
    match look()? {
        Some(info) if info.paused => {
            Err("it is still paused after its wake-up: somebody else paused it too".into())
        }
        Some(_) => Ok(prepared),
        None => Err("it died when it was woken".into()),
    }
}

/// Whether the hypervisor's domain is the disposable of the entry, asleep and well. Pure.
///
/// # Errors
/// One sentence that says what differs.
pub fn verify(entry: &Entry, info: Option<&DomainInfo>) -> Result<(), String> {
    if identify(entry, info)?.paused {
        Ok(())
    } else {
        Err("it was already running: somebody else woke it".into())
    }
}

/// Whether the hypervisor's domain is the disposable of the entry, awake and well. Pure.
///
/// # Errors
/// One sentence that says what differs.
pub fn verify_running(entry: &Entry, info: Option<&DomainInfo>) -> Result<(), String> {
    if identify(entry, info)?.paused { Err("somebody else paused it".into()) } else { Ok(()) }
}

fn identify<'a>(entry: &Entry, info: Option<&'a DomainInfo>) -> Result<&'a DomainInfo, String> {
    let info = info.ok_or_else(|| format!("domain {} does not exist", entry.domid))?;
    if info.uuid != entry.uuid || info.name != entry.name {
        return Err(format!("domain {} is now {} (uuid {})", entry.domid, info.name, info.uuid));
    }
    if info.dying { Err("it is dying".into()) } else { Ok(info) }
}
