//! From running to halted, and for most disposables to gone.

use super::start::XEN_PATIENCE;
use super::{daemon, directory, domain};
use crate::dom0::{Dom0, monotonic_seconds};
use crate::store::Refusal;
use admin::protocol::Event as ApiEvent;
use admin::{ErrorClass, PowerState};
use names::{DomId, QubeName};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use trace::Event;

/// How long a daemon may take to end before it is made to, and then to die.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// How long a kill waits for the end of everything. Longer than the hypervisor tries.
const PATIENCE: Duration = Duration::from_secs(30);

impl Dom0 {
    /// Ends a qube at once. When this returns its processes are gone, and an auto_cleanup disposable is removed; what was in its
    /// directory may still be in the course of removal, elsewhere.
    ///
    /// # Errors
    /// It is dom0, is gone or does not run; or something of it does not die.
    pub(crate) fn kill(self: &Arc<Self>, name: &QubeName) -> Result<(), Refusal> {
        if name.is_dom0() {
            return Err(Refusal::new(ErrorClass::QubesVMError, "dom0 cannot be killed"));
        }
        let domid = self.with_state(|state| {
            if state.store.qube(name)?.runtime.state == PowerState::Halted {
                return Err(Refusal::not_started(name));
            }
            state.store.ending(name);
            Ok(state.lives.domid(name))
        })?;
        let Some(domid) = domid else { return Err(Refusal::not_started(name)) };
        domain::destroy(self, domid).map_err(|error| {
            Refusal::new(ErrorClass::QubesVMError, format!("{name} cannot be ended: {error}"))
        })?;
        // Whoever removes the state directory of a host removes the record of its domains, too.
        self.with_state(|state| state.lives.hold(name, domid, None));
        let patience = if self.xen.is_some() { PATIENCE * XEN_PATIENCE } else { PATIENCE };
        let gone = self.wait_for(patience, |state| {
            let is_gone = state.lives.domid(name) != Some(domid) && !state.lives.held.contains(name);
            is_gone.then_some(())
        });
        gone.ok_or_else(|| Refusal::new(ErrorClass::QubesVMError, format!("{name} does not end")))
    }

    /// Ends a qube. There is no operating system in it that could be asked, so this is a kill; without `wait` the answer
    /// does not wait for it.
    ///
    /// # Errors
    /// It does not run, or is paused and neither forced nor preloaded.
    pub(crate) fn shutdown(
        self: &Arc<Self>,
        name: &QubeName,
        force: bool,
        wait: bool,
    ) -> Result<(), Refusal> {
        if name.is_dom0() {
            return Err(Refusal::new(ErrorClass::QubesVMError, "dom0 cannot be shut down"));
        }
        let (state, is_preload) = self.read(|store| {
            let qube = store.qube(name)?;
            Ok::<_, Refusal>((qube.runtime.state, store.is_preload(qube)))
        })?;
        match self.true_state(name, state) {
            PowerState::Halted => return Err(Refusal::not_started(name)),
            PowerState::Paused if !force && !is_preload => return Err(Refusal::not_running(name)),
            _ => {}
        }
        let flag = if force { "True" } else { "False" };
        self.change(|store| {
            store.fire(ApiEvent::new(name.as_str(), "domain-pre-shutdown").with("force", flag));
            Ok(())
        })?;
        if wait {
            return self.kill(name);
        }
        let (dom0, name) = (self.clone(), name.clone());
        let work = move || {
            if let Err(refusal) = dom0.kill(&name) {
                log::warn!("shutdown of {name}: {refusal}");
            }
        };
        thread::Builder::new()
            .name("shutdown".into())
            .spawn(work)
            .map(drop)
            .map_err(|error| Refusal::general(format!("cannot start a thread: {error}")))
    }

    /// Whether a qube is gone or halted.
    pub(crate) fn is_down(&self, name: &QubeName) -> bool {
        self.read(|store| store.get(name).is_none_or(|qube| qube.runtime.state == PowerState::Halted))
    }

    /// A domain has ended, for whatever reason. Called once per domain with effect; again without.
    pub(super) fn domain_ended(self: &Arc<Self>, name: &QubeName, domid: DomId) {
        let ending = self.with_state(|state| {
            let machine = state.lives.machines.get(name).filter(|machine| machine.domid == domid)?;
            let daemon = machine.daemon.clone();
            let uuid = state.store.get(name)?.uuid;
            state.store.ending(name);
            Some((daemon, uuid))
        });
        let Some((daemon, uuid)) = ending else { return };
        if let Some(daemon) = daemon {
            daemon.end(GRACE);
        }
        daemon::remove_sockets(self, name, domid, uuid);
        let held = self.hold_directory(name);
        let removed = self.with_state(|state| {
            // Between the two locks another call of this function may have been faster.
            state.lives.take(name, domid)?;
            let had_domain = state.store.get(name)?.runtime.domid.is_some();
            if had_domain {
                state.store.ended(name);
            } else {
                state.store.not_started(name);
            }
            let removed = state.store.get(name)?.is_auto_cleanup();
            if removed {
                state.store.remove(name, monotonic_seconds());
            }
            Some(removed)
        });
        let Some(removed) = removed else { return };
        if removed {
            directory::discard(self, name);
        }
        drop(held);
        let text = if removed { format!("{name} ended and was removed") } else { format!("{name} ended") };
        self.reporter.report(&Event::now("host", "qube-ended", name.as_str(), text));
    }
}
