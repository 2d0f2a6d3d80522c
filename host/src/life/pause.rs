//! Pausing and waking through the Admin API. The queue's own disposables are paused and woken behind our back, as on
//! Qubes OS behind libvirt's (design, section 5), so the hypervisor is asked for the truth where it matters.

use super::domain;
use crate::dom0::Dom0;
use crate::store::Refusal;
use admin::{ErrorClass, PowerState};
use hypervisor::HypervisorError;
use names::{DomId, QubeName};

impl Dom0 {
    /// Pauses a running qube.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn pause(&self, name: &QubeName) -> Result<(), Refusal> {
        let domid = self.domain_of(name)?.ok_or_else(|| Refusal::not_running(name))?;
        match domain::pause(self, domid) {
            Ok(()) => {}
            Err(
                HypervisorError::AlreadyPaused(_)
                | HypervisorError::NoSuchDomain(_)
                | HypervisorError::Dying(_),
            ) => {
                return Err(Refusal::not_running(name));
            }
            Err(error) => return Err(Refusal::general(format!("cannot pause {name}: {error}"))),
        }
        self.with_state(|state| state.store.paused(name));
        Ok(())
    }

    /// Wakes a paused qube.
    ///
    /// # Errors
    /// It is not paused.
    pub(crate) fn unpause(&self, name: &QubeName) -> Result<(), Refusal> {
        let not_paused =
            || Refusal::new(ErrorClass::QubesVMNotPausedError, format!("Domain is not paused: '{name}'"));
        let domid = self.domain_of(name)?.ok_or_else(not_paused)?;
        match domain::unpause(self, domid) {
            Ok(()) => {}
            Err(
                HypervisorError::NotPaused(_) | HypervisorError::NoSuchDomain(_) | HypervisorError::Dying(_),
            ) => {
                return Err(not_paused());
            }
            Err(error) => return Err(Refusal::general(format!("cannot wake {name}: {error}"))),
        }
        self.with_state(|state| state.store.unpaused(name));
        Ok(())
    }

    /// The state of a qube, corrected by what the hypervisor says.
    pub(crate) fn true_state(&self, name: &QubeName, state: PowerState) -> PowerState {
        if name.is_dom0() || !matches!(state, PowerState::Running | PowerState::Paused) {
            return state;
        }
        let Some(domid) = self.look(|state| state.lives.domid(name)) else { return state };
        match domain::info(self, domid) {
            Ok(Some(info)) if info.dying => PowerState::Dying,
            Ok(Some(info)) if info.paused => PowerState::Paused,
            Ok(Some(_)) => PowerState::Running,
            Ok(None) => PowerState::Dying,
            Err(error) => {
                log::warn!("{name}: {error}");
                state
            }
        }
    }

    /// The domain of a qube that is up; `None` when it is not.
    fn domain_of(&self, name: &QubeName) -> Result<Option<DomId>, Refusal> {
        self.look(|state| {
            let is_up =
                matches!(state.store.qube(name)?.runtime.state, PowerState::Running | PowerState::Paused);
            Ok(state.lives.domid(name).filter(|_| is_up))
        })
    }
}
