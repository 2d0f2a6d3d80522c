//! Domains of a real Xen, by libxenctrl; names from xenstore.
//!
//! | module | what it is |
//! |---|---|
//! | `state` | flags to [`DomainInfo`], errno to remedy; pure |
//! | `control` | the calls of libxenctrl: the only `unsafe` |

mod control;
mod state;

use crate::{DomainInfo, Hypervisor, HypervisorError};
use control::Control;
use names::{DomId, QubeName, Uuid};
use state::Step;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use xenstore::Xenstore;

/// The domains of this machine. Nothing is opened before it is needed; then one handle serves all calls, one at a time,
/// as libxenctrl wants it.
#[derive(Debug, Default)]
pub struct Xen {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    control: Option<Control>,
    store: Option<Xenstore>,
}

/// What a domain has of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What it has now.
    pub current: u64,
    /// What it may have at most.
    pub maximum: u64,
}

impl Xen {
    /// The machine this runs on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All domains but dom0, of whomever they are, ascending.
    ///
    /// # Errors
    /// Xen cannot be asked.
    pub fn list(&self) -> Result<Vec<(DomId, Uuid)>, HypervisorError> {
        let mut open = self.lock();
        let mut found = Vec::new();
        let mut next = 1u32;
        while let Some(state) = open.control()?.domain_from(next)? {
            next = u32::from(state.domid.get()) + 1;
            found.push((state.domid, state.uuid));
        }
        Ok(found)
    }

    /// The number of the domain with this identity, if it is not dying.
    ///
    /// # Errors
    /// Xen cannot be asked.
    pub fn domain_of(&self, uuid: Uuid) -> Result<Option<DomId>, HypervisorError> {
        let mut open = self.lock();
        let mut next = 1u32;
        while let Some(state) = open.control()?.domain_from(next)? {
            if state.uuid == uuid && !state.dying {
                return Ok(Some(state.domid));
            }
            next = u32::from(state.domid.get()) + 1;
        }
        Ok(None)
    }

    /// Whether the domain has shut itself down and only waits to be destroyed; true when there is none.
    ///
    /// # Errors
    /// Xen cannot be asked.
    pub fn has_ended(&self, domid: DomId) -> Result<bool, HypervisorError> {
        Ok(self.lock().control()?.domain(domid)?.is_none_or(|state| state.dying || state.shutdown))
    }

    /// The identity of a domain; `None` when there is none.
    ///
    /// # Errors
    /// Xen cannot be asked.
    pub fn uuid(&self, domid: DomId) -> Result<Option<Uuid>, HypervisorError> {
        Ok(self.lock().control()?.domain(domid)?.map(|state| state.uuid))
    }

    /// What a domain has of memory.
    ///
    /// # Errors
    /// [`HypervisorError::NoSuchDomain`]; Xen cannot be asked.
    pub fn memory(&self, domid: DomId) -> Result<Memory, HypervisorError> {
        let state = self.lock().control()?.domain(domid)?;
        state.map(|state| state.memory).ok_or(HypervisorError::NoSuchDomain(domid))
    }

    /// Asks a domain to shrink or grow to so many bytes, and keeps it from growing beyond. The domain obliges in its own
    /// time, or never: [`Self::memory`] tells.
    ///
    /// # Errors
    /// [`HypervisorError::NoSuchDomain`]; Xen or xenstore refuse.
    pub fn set_memory_target(&self, domid: DomId, bytes: u64) -> Result<(), HypervisorError> {
        let mut open = self.lock();
        let kib = bytes / 1024;
        open.control()?.set_maximum(domid, kib)?;
        let path = format!("/local/domain/{domid}/memory/target");
        open.store(|store| store.write(&path, &kib.to_string()))
    }

    /// Memory that no domain has, in bytes.
    ///
    /// # Errors
    /// Xen cannot be asked.
    pub fn free_memory(&self) -> Result<u64, HypervisorError> {
        self.lock().control()?.free_memory()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn control(&mut self) -> Result<&mut Control, HypervisorError> {
        match &mut self.control {
            Some(control) => Ok(control),
            closed => Ok(closed.insert(Control::open()?)),
        }
    }

    /// A connection that failed is made anew for the next question.
    fn store<T>(&mut self, ask: impl FnOnce(&mut Xenstore) -> io::Result<T>) -> Result<T, HypervisorError> {
        let failed = |source| HypervisorError::Io { step: "cannot ask", object: "xenstore".into(), source };
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Xenstore::open().map_err(failed)?,
        };
        let answer = ask(&mut store).map_err(failed)?;
        self.store = Some(store);
        Ok(answer)
    }

    /// A domain without a name of ours is still being made by somebody, or is none of ours.
    fn name(&mut self, domid: DomId) -> Result<Option<QubeName>, HypervisorError> {
        let text = self.store(|store| store.read_text(&format!("/local/domain/{domid}/name")))?;
        Ok(text.and_then(|text| text.parse().ok()))
    }
}

impl Hypervisor for Xen {
    /// `None` also for a domain that has no name, or none that a qube can have.
    fn info(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        let mut open = self.lock();
        let Some(state) = open.control()?.domain(domid)? else { return Ok(None) };
        Ok(open.name(domid)?.map(|name| state.info(name)))
    }

    /// Never pauses twice: Xen would count.
    fn pause(&self, domid: DomId) -> Result<(), HypervisorError> {
        let mut open = self.lock();
        let control = open.control()?;
        match control.domain(domid)? {
            None => Err(HypervisorError::NoSuchDomain(domid)),
            Some(state) if state.dying || state.shutdown => Err(HypervisorError::Dying(domid)),
            Some(state) if state.paused => Err(HypervisorError::AlreadyPaused(domid)),
            Some(_) => control.call(Step::Pause, domid),
        }
    }

    fn unpause(&self, domid: DomId) -> Result<(), HypervisorError> {
        self.lock().control()?.call(Step::Unpause, domid)
    }

    /// The hypervisor's part alone: what a toolstack keeps of the domain stays (`xl destroy` removes that, too).
    fn destroy(&self, domid: DomId) -> Result<(), HypervisorError> {
        let mut open = self.lock();
        let control = open.control()?;
        control.call(Step::Destroy, domid)?;
        let until = Instant::now() + PATIENCE;
        // What others still have mapped of it keeps a shell of it; nothing in it runs.
        while control.domain(domid)?.is_some_and(|state| !state.dying) {
            if Instant::now() >= until {
                return Err(HypervisorError::Timeout { domid, step: "its end" });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
