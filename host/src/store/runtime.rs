//! What a qube does right now, as far as this host ordered it. Not in the file.

use super::{Refusal, Store};
use admin::PowerState;
use admin::protocol::Event;
use names::{DomId, QubeName};

/// The part of a qube that changes with starts and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Whether it runs.
    pub state: PowerState,
    /// Its domain, while it has one.
    pub domid: Option<DomId>,
    /// When it was started, in seconds since 1970.
    pub started_at: Option<u64>,
}

impl Runtime {
    pub(super) fn halted() -> Self {
        Self { state: PowerState::Halted, domid: None, started_at: None }
    }

    pub(super) fn dom0() -> Self {
        Self { state: PowerState::Running, domid: Some(DomId::DOM0), started_at: None }
    }
}

/// The order of events is that of spec/admin-api.md 4.6.
impl Store {
    /// A start begins.
    ///
    /// # Errors
    /// The qube is gone, or is not halted.
    pub fn starting(&mut self, name: &QubeName, mem: &str) -> Result<(), Refusal> {
        // Before the copy is made: what changes meanwhile makes it outdated.
        let home =
            self.qube(name)?.template().and_then(|template| self.get(&template)).map(|of| of.home_revision);
        let qube = self.qube_mut(name)?;
        if qube.runtime.state != PowerState::Halted {
            return Err(Refusal::not_halted(name));
        }
        qube.copy_of = home;
        qube.runtime.state = PowerState::Transient;
        self.info_revision += 1;
        let event = |event: &str| Event::new(name.as_str(), event).with("start_guid", "None");
        self.fire(event("domain-pre-start").with("mem_required", mem));
        self.fire(event("domain-pre-spawn"));
        Ok(())
    }

    /// Its domain exists and runs; it cannot be called yet.
    pub fn spawned(&mut self, name: &QubeName, domid: DomId, now: u64) {
        if let Some(qube) = self.qubes.get_mut(name) {
            qube.runtime.domid = Some(domid);
            qube.runtime.started_at = Some(now);
        }
        self.info_revision += 1;
        self.fire_domain_properties(name);
        self.fire(Event::new(name.as_str(), "domain-spawn").with("start_guid", "None"));
        for event in ["domain-qdb-create", "domain-pre-unpaused", "domain-unpaused"] {
            self.fire(Event::new(name.as_str(), event));
        }
    }

    /// It can be called.
    pub fn started(&mut self, name: &QubeName) {
        self.set_state(name, PowerState::Running);
        self.fire(Event::new(name.as_str(), "domain-start").with("start_guid", "None"));
    }

    /// The start came to nothing.
    pub fn start_failed(&mut self, name: &QubeName, reason: &str) {
        self.fire(Event::new(name.as_str(), "domain-start-failed").with("reason", reason));
    }

    /// It is halted again and never had a domain.
    pub fn not_started(&mut self, name: &QubeName) {
        self.set_state(name, PowerState::Halted);
    }

    /// Its end has begun: no more calls.
    pub fn ending(&mut self, name: &QubeName) {
        self.set_state(name, PowerState::Dying);
    }

    /// Its domain is gone.
    pub fn ended(&mut self, name: &QubeName) {
        let Some(qube) = self.qubes.get_mut(name) else { return };
        qube.runtime = Runtime::halted();
        qube.home_revision += 1;
        self.info_revision += 1;
        self.fire(Event::new(name.as_str(), "domain-stopped"));
        self.fire_domain_properties(name);
        self.fire(Event::new(name.as_str(), "domain-shutdown"));
    }

    /// It was paused through the Admin API.
    pub fn paused(&mut self, name: &QubeName) {
        self.set_state(name, PowerState::Paused);
        self.fire(Event::new(name.as_str(), "domain-pre-paused"));
        self.fire(Event::new(name.as_str(), "domain-paused"));
    }

    /// It was woken through the Admin API.
    pub fn unpaused(&mut self, name: &QubeName) {
        self.set_state(name, PowerState::Running);
        self.fire(Event::new(name.as_str(), "domain-pre-unpaused"));
        self.fire(Event::new(name.as_str(), "domain-unpaused"));
    }

    fn set_state(&mut self, name: &QubeName, state: PowerState) {
        if let Some(qube) = self.qubes.get_mut(name) {
            qube.runtime.state = state;
            self.info_revision += 1;
        }
    }

    fn fire_domain_properties(&mut self, name: &QubeName) {
        for property in ["xid", "stubdom_xid", "start_time"] {
            self.fire(
                Event::new(name.as_str(), &format!("property-reset:{property}")).with("name", property),
            );
        }
    }
}
