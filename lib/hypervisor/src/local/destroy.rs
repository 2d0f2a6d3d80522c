//! The end of a qube: kill, wait, clear away. Safe to run at any time, twice, and by several processes at once.

use super::record::Record;
use super::registry::Registry;
use super::spec::Isolation;
use super::tree;
use crate::HypervisorError;
use names::DomId;
use nix::sys::signal::Signal;
use os::process::{Handle, ProcessId};
use std::io;
use std::time::{Duration, Instant};

/// How long processes may take to die; SIGKILL is quick unless a disk or the kernel hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one round waits before it kills again.
const ROUND: Duration = Duration::from_millis(50);

/// Ends the domain and removes every trace of it. The supervisor ends by itself when its qube has; a supervisor that
/// does not, or has no qube yet, is killed.
pub(super) fn destroy(registry: &Registry, domid: DomId, record: Record) -> Result<(), HypervisorError> {
    let deadline = Instant::now() + PATIENCE;
    let supervisor = open(record.supervisor)?;
    let record = match (&supervisor, record.init) {
        // Still setting up. An init that it has started but not entered ends by itself when it is gone; it may have
        // entered one since the record was read.
        (Some(handle), None) => {
            end_supervisor(domid, record.supervisor, handle, deadline)?;
            registry.read(domid)?.filter(|now| now.uuid == record.uuid).unwrap_or(record)
        }
        _ => record,
    };
    kill_all(domid, &record, deadline)?;
    if let Some(handle) = &supervisor {
        if !wait(handle, ROUND * 20)? {
            end_supervisor(domid, record.supervisor, handle, deadline)?;
        }
    }
    clear_away(registry, domid, &record, deadline)
}

fn end_supervisor(
    domid: DomId,
    process: ProcessId,
    handle: &Handle,
    deadline: Instant,
) -> Result<(), HypervisorError> {
    handle.signal(Signal::SIGKILL).map_err(|error| cannot_kill(process, error))?;
    if wait(handle, deadline.saturating_duration_since(Instant::now()))? {
        return Ok(());
    }
    Err(HypervisorError::Timeout { domid, step: "end of the supervisor" })
}

/// Ends every process of the qube, the supervisor excepted.
pub(super) fn kill_all(domid: DomId, record: &Record, deadline: Instant) -> Result<(), HypervisorError> {
    let init = record.init.map(open).transpose()?.flatten();
    loop {
        kill_round(record, init.as_ref())?;
        let round = ROUND.min(deadline.saturating_duration_since(Instant::now()));
        let ended = match &init {
            Some(init) => wait(init, round)?,
            None => true,
        };
        if ended
            && record.cgroup.as_ref().is_none_or(super::cgroup::Cgroup::is_empty)
            && loose(record).is_empty()
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(HypervisorError::Timeout { domid, step: "death of its processes" });
        }
        if ended {
            // The first process has ended, others are about to: there is nothing to wait on but time.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Removes the control group and, last of all, the record.
pub(super) fn clear_away(
    registry: &Registry,
    domid: DomId,
    record: &Record,
    deadline: Instant,
) -> Result<(), HypervisorError> {
    if let Some(cgroup) = &record.cgroup {
        while let Err(error) = cgroup.remove() {
            if Instant::now() >= deadline {
                return Err(HypervisorError::file("cannot remove the control group", cgroup.path(), error));
            }
            // The kernel takes a moment to let go of the dead.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    registry.remove(domid, record.uuid, record.supervisor)
}

fn kill_round(record: &Record, init: Option<&Handle>) -> Result<(), HypervisorError> {
    // With a pid namespace the kernel ends all of it together with its first process.
    if record.isolation == Isolation::Namespaces {
        kill_init(record, init)?;
    }
    if let Some(cgroup) = &record.cgroup {
        cgroup.kill();
        // A qube frozen by v1 dies when thawed.
        let _ = cgroup.thaw();
    }
    if record.isolation == Isolation::Processes {
        kill_loose(record);
        kill_init(record, init)?;
    }
    Ok(())
}

fn kill_init(record: &Record, init: Option<&Handle>) -> Result<(), HypervisorError> {
    match (init, record.init) {
        (Some(init), Some(process)) => {
            init.signal(Signal::SIGKILL).map_err(|error| cannot_kill(process, error))
        }
        _ => Ok(()),
    }
}

/// Stopped processes cannot fork, so a round that finds all of them ends all of them.
fn kill_loose(record: &Record) {
    let soon = Instant::now() + ROUND;
    for child in tree::children(record.supervisor).into_iter().chain(record.init) {
        tree::stop(child, soon);
    }
    for process in loose(record) {
        if let Ok(Some(process)) = process.open() {
            let _ = process.signal(Signal::SIGKILL);
        }
    }
}

/// The processes of a qube without a pid namespace, its first one excepted: those below the first process and the
/// supervisor, and those that carry the qube's mark because both were killed over their heads.
fn loose(record: &Record) -> Vec<ProcessId> {
    if record.isolation != Isolation::Processes {
        return Vec::new();
    }
    let roots = record.init.into_iter().chain([record.supervisor]);
    let mut found: Vec<ProcessId> =
        roots.flat_map(tree::members).chain(tree::marked(&mark(record.uuid))).collect();
    found.retain(|process| *process != record.supervisor && Some(*process) != record.init);
    found
}

/// A setting in the environment of every process of a qube without namespaces.
pub(super) fn mark(uuid: names::Uuid) -> String {
    format!("{MARK}={uuid}")
}

fn open(process: ProcessId) -> Result<Option<Handle>, HypervisorError> {
    process.open().map_err(|source| HypervisorError::Io {
        step: "cannot watch",
        object: format!("process {process}"),
        source,
    })
}

fn wait(process: &Handle, limit: Duration) -> Result<bool, HypervisorError> {
    process.wait(limit).map_err(|source| HypervisorError::Io {
        step: "cannot wait for",
        object: "a process".to_owned(),
        source,
    })
}

fn cannot_kill(process: ProcessId, source: io::Error) -> HypervisorError {
    HypervisorError::Io { step: "cannot kill", object: format!("process {process}"), source }
}

pub(super) const MARK: &str = "QUBE_UUID";
