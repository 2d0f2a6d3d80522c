//! Qubes as trees of Linux processes, without root.
//!
//! A qube is three layers of processes. The *supervisor*, a second run of the host's own executable, holds the reading
//! end of a pipe whose writing end only the host has; when the host ends, however it ends, the supervisor reads the end
//! of the file and destroys the qube. Its child *init* is the first process of the qube: it builds the root the qube sees,
//! gives up its rights, starts the qube's command and ends with it. All else descends from the command.
//!
//! The list of domains is a directory of small files, the [`Local::new`] registry, so that any process that knows it can
//! ask for, pause, wake and destroy a domain.

mod cgroup;
mod create;
mod destroy;
mod etc;
mod failure;
mod init;
mod layout;
mod loopback;
mod mountinfo;
mod protocol;
mod record;
mod registry;
mod root;
mod spec;
mod supervisor;
mod text;
mod tree;

pub use create::{Created, Supervisor};
pub use init::init_main;
pub use spec::{Isolation, Mount, Pausing, Spec};
pub use supervisor::supervisor_main;

use crate::{DomainInfo, Hypervisor, HypervisorError};
use names::{DomId, QubeName};
use os::process::Stat;
use record::Record;
use registry::Registry;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The base name under which the host's executable must call [`supervisor_main`].
pub const SUPERVISOR: &str = "qube-supervisor";
/// The base name under which the host's executable must call [`init_main`].
pub const INIT: &str = "qube-init";

/// How long a qube may take to stand still; beyond it is as if a process hung in the kernel.
const PAUSE_PATIENCE: Duration = Duration::from_secs(5);

/// Qubes as process trees, listed in a directory.
#[derive(Debug, Clone)]
pub struct Local {
    registry: Registry,
}

/// A domain that [`Local::sweep`] has cleared away, or could not.
#[derive(Debug)]
pub struct Swept {
    /// Its number.
    pub domid: DomId,
    /// Its name; `None` when its record was damaged, in which case processes of it could be left.
    pub name: Option<QubeName>,
    /// Whether all of it is gone.
    pub result: Result<(), HypervisorError>,
}

impl Local {
    /// The domains listed in the directory `registry`, which need not exist yet. Two directories are two worlds, which
    /// may use the same numbers.
    #[must_use]
    pub fn new(registry: PathBuf) -> Self {
        Self { registry: Registry { directory: registry } }
    }

    /// The numbers of all domains, ascending.
    #[must_use]
    pub fn list(&self) -> Vec<DomId> {
        self.registry.list()
    }

    /// Destroys every domain of the registry. For the start of a host that knows that no other host uses this registry:
    /// whatever is listed was left by one that was killed.
    #[must_use]
    pub fn sweep(&self) -> Vec<Swept> {
        let sweep_one = |domid| match self.registry.read(domid) {
            Ok(None) => None,
            Ok(Some(record)) => {
                let name = Some(record.name.clone());
                Some(Swept { domid, name, result: destroy::destroy(&self.registry, domid, record) })
            }
            Err(_) => Some(Swept { domid, name: None, result: self.registry.remove_file(domid) }),
        };
        let swept = self.list().into_iter().filter_map(sweep_one).collect();
        self.registry.remove_unfinished();
        swept
    }

    /// The stat of the first process while it lives.
    fn first_process(domid: DomId, record: &Record) -> Result<Stat, HypervisorError> {
        let stat = record.init.and_then(|init| Stat::read(init.pid).filter(|stat| stat.start == init.start));
        stat.filter(|stat| !matches!(stat.state, 'Z' | 'X')).ok_or(HypervisorError::Dying(domid))
    }
}

impl Hypervisor for Local {
    fn info(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        let Some(record) = self.registry.read(domid)? else { return Ok(None) };
        let (paused, dying) = match (Self::first_process(domid, &record), &record.cgroup) {
            (Ok(_), Some(cgroup)) => (cgroup.stands_still().unwrap_or(false), false),
            (Ok(stat), None) => (stat.state == 'T', false),
            // A domain that is being set up has no first process yet.
            (Err(_), _) => (false, record.init.is_some() || !record.supervisor.is_alive()),
        };
        Ok(Some(DomainInfo { domid, uuid: record.uuid, name: record.name, paused, dying }))
    }

    fn pause(&self, domid: DomId) -> Result<(), HypervisorError> {
        let (record, _lock) = self.registry.lock(domid)?;
        let stat = Self::first_process(domid, &record)?;
        let deadline = Instant::now() + PAUSE_PATIENCE;
        let timeout = HypervisorError::Timeout { domid, step: "standstill of all its processes" };
        match (&record.cgroup, record.init) {
            (Some(cgroup), _) => {
                let io =
                    |error| HypervisorError::file("cannot freeze the control group", cgroup.path(), error);
                if cgroup.is_frozen().map_err(io)? {
                    return Err(HypervisorError::AlreadyPaused(domid));
                }
                let frozen = cgroup.freeze(deadline).map_err(io);
                if !matches!(frozen, Ok(true)) {
                    cgroup.thaw().map_err(io)?;
                }
                if frozen? { Ok(()) } else { Err(timeout) }
            }
            (None, Some(_)) if stat.state == 'T' => Err(HypervisorError::AlreadyPaused(domid)),
            (None, Some(init)) if tree::stop(init, deadline) => Ok(()),
            (None, Some(init)) => {
                tree::resume(init);
                Err(timeout)
            }
            (None, None) => Err(HypervisorError::Dying(domid)),
        }
    }

    fn unpause(&self, domid: DomId) -> Result<(), HypervisorError> {
        let (record, _lock) = self.registry.lock(domid)?;
        if let Some(cgroup) = &record.cgroup {
            // The group goes when the domain does.
            let io = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound => HypervisorError::Dying(domid),
                _ => HypervisorError::file("cannot thaw the control group", cgroup.path(), error),
            };
            return match cgroup.wake().map_err(io)? {
                true => Ok(()),
                false => Err(HypervisorError::NotPaused(domid)),
            };
        }
        match (Self::first_process(domid, &record)?.state, record.init) {
            ('T', Some(init)) => {
                tree::resume(init);
                Ok(())
            }
            _ => Err(HypervisorError::NotPaused(domid)),
        }
    }

    fn destroy(&self, domid: DomId) -> Result<(), HypervisorError> {
        match self.registry.read(domid)? {
            Some(record) => destroy::destroy(&self.registry, domid, record),
            None => Err(HypervisorError::NoSuchDomain(domid)),
        }
    }
}
