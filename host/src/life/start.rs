//! From halted to running.

use super::daemon::{self, Doorstep};
use super::{Machine, directory, domain};
use crate::dom0::{Dom0, State, monotonic_seconds};
use crate::store::Refusal;
use admin::{ErrorClass, PowerState, QubeClass};
use hypervisor::local::Isolation;
use names::{DomId, QubeName, UserName, Uuid};
use std::fmt;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use trace::Event;

/// How long a start waits for another start or end of the same qube.
const PATIENCE: Duration = Duration::from_secs(120);

/// A domain boots a kernel of its own, which without hardware virtualisation takes long.
pub(super) const XEN_PATIENCE: u32 = 5;

/// What one start is about, decided at its beginning.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) name: QubeName,
    pub(super) uuid: Uuid,
    pub(super) class: QubeClass,
    pub(super) template: Option<QubeName>,
    pub(super) domid: DomId,
    pub(super) user: String,
    pub(super) limit: Duration,
    /// Whether the qube has an agent to wait for.
    pub(super) qrexec: bool,
}

impl Plan {
    /// Whether the qube is still being started by this start.
    pub(super) fn is_current(&self, state: &State) -> bool {
        let starting =
            state.store.get(&self.name).is_some_and(|qube| qube.runtime.state == PowerState::Transient);
        starting && state.lives.domid(&self.name) == Some(self.domid)
    }

    pub(super) fn user_name(&self) -> Option<UserName> {
        self.user.parse().ok()
    }
}

/// Why a start came to nothing, as a sentence without its subject.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Dom0 {
    /// Starts a qube; returns when it can be called. Nothing is done for one that runs.
    ///
    /// # Errors
    /// It is dom0, is gone, may not start, or did not come up; it is then halted again, and an unnamed disposable is gone (R7).
    pub(crate) fn start(self: &Arc<Self>, name: &QubeName) -> Result<(), Refusal> {
        if name.is_dom0() {
            return Err(Refusal::new(ErrorClass::QubesVMNotHaltedError, "Cannot start Dom0 fake domain!"));
        }
        let begun = os::monotonic_ns();
        let plan = self.wait_for(PATIENCE, |state| begin(state, name).transpose());
        let plan = match plan {
            Some(plan) => plan?,
            None => return Err(Refusal::general(format!("{name} is busy starting or ending"))),
        };
        let Some(mut plan) = plan else { return Ok(()) };
        let result = self.bring_up(&mut plan).and_then(|()| {
            let is_current = self.with_state(|state| {
                let is_current = plan.is_current(state);
                if is_current {
                    state.store.started(name);
                }
                is_current
            });
            if is_current { Ok(()) } else { Err(Failure("it ended while it was being started".into())) }
        });
        match result {
            Ok(()) => {
                let event = Event::now("host", "qube-started", name.as_str(), format!("{name} started"));
                self.reporter.report(&event.since(begun));
                Ok(())
            }
            Err(failure) => {
                let text = format!("Start failed: {failure}");
                // Whoever ends a host ends what is being started in it: no news then.
                let level = if self.look(|state| state.lives.stopping) {
                    log::Level::Debug
                } else {
                    log::Level::Error
                };
                log::log!(level, "{name}: {text}");
                self.give_up(&plan, &text);
                Err(Refusal::general(text))
            }
        }
    }

    fn bring_up(self: &Arc<Self>, plan: &mut Plan) -> Result<(), Failure> {
        if self.xen.is_some() {
            plan.limit *= XEN_PATIENCE;
        }
        let directory = directory::prepare(self, plan)
            .map_err(|error| Failure(format!("its directory cannot be prepared: {error}")))?;
        let isolation = domain::create(self, plan, directory)?;
        if isolation == Isolation::Processes {
            // Plain processes run as whoever started the host, and services with them.
            plan.user = own_login_name().unwrap_or_else(|| plan.user.clone());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let is_current = self.with_state(|state| {
            let is_current = plan.is_current(state);
            if is_current {
                state.store.spawned(&plan.name, plan.domid, now);
            }
            if let Some(machine) = state.lives.machine(&plan.name, plan.domid) {
                machine.isolation = Some(isolation);
            }
            is_current
        });
        if !is_current {
            return Err(Failure("it was ended before it ran".into()));
        }
        let failed = |error: std::io::Error| Failure(format!("its qrexec daemon cannot be started: {error}"));
        let doorstep = Doorstep::watch(self);
        let daemon = daemon::start(self, plan).map_err(failed)?;
        let orphan = self.with_state(|state| match state.lives.machine(&plan.name, plan.domid) {
            Some(machine) => {
                machine.daemon = Some(daemon.clone());
                None
            }
            None => Some(daemon.clone()),
        });
        if let Some(orphan) = orphan {
            orphan.end(super::end::GRACE);
            return Err(Failure("it ended while it was being started".into()));
        }
        if plan.qrexec { doorstep.wait(self, plan, &daemon) } else { Ok(()) }
    }

    /// R7: what did not start is ended, and if it is a disposable, removed; a named one stays, with its settings (users.md M4).
    fn give_up(self: &Arc<Self>, plan: &Plan, reason: &str) {
        self.with_state(|state| state.store.start_failed(&plan.name, reason));
        if let Err(error) = domain::destroy(self, plan.domid) {
            log::error!("{}: {error}", plan.name);
        }
        // The thread that watches the domain notices its end; without a domain there is no such thread.
        self.domain_ended(&plan.name, plan.domid);
        if plan.class == QubeClass::DispVM {
            let _held = self.hold_directory(&plan.name);
            let removed = self.change(|store| {
                let is_same = store
                    .get(&plan.name)
                    .is_some_and(|qube| qube.uuid == plan.uuid && qube.is_auto_cleanup());
                if is_same {
                    store.remove(&plan.name, monotonic_seconds());
                }
                Ok(is_same)
            });
            if matches!(removed, Ok(true)) {
                directory::discard(self, &plan.name);
            }
        }
    }
}

/// The login name of this process's user in /etc/passwd; `None` when it has none.
fn own_login_name() -> Option<String> {
    login_name(&fs::read_to_string("/etc/passwd").ok()?, nix::unistd::geteuid().as_raw())
}

fn login_name(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == uid && name.parse::<UserName>().is_ok()).then(|| name.to_owned())
    })
}

/// Decides whether to start: `Ok(None)` while another start or end of it is under way, `Ok(Some(None))` when there is
/// nothing to do.
fn begin(state: &mut State, name: &QubeName) -> Result<Option<Option<Plan>>, Refusal> {
    if state.lives.stopping {
        return Err(Refusal::general("the host is stopping"));
    }
    let qube = state.store.qube(name)?;
    match qube.runtime.state {
        // What is moved out of the way would be its own directory.
        PowerState::Halted if state.lives.held.contains(name) => return Ok(None),
        PowerState::Halted => {}
        PowerState::Transient | PowerState::Dying | PowerState::Halting => return Ok(None),
        _ => return Ok(Some(None)),
    }
    if let Some(rationale) = qube.feature("prohibit-start").filter(|value| !value.is_empty()) {
        return Err(Refusal::general(format!("Qube start is prohibited. Rationale: {rationale}")));
    }
    let template = qube.template();
    let is_disposable = qube.class == QubeClass::DispVM;
    if let Some(template) = template.as_ref().filter(|_| is_disposable) {
        if !state.store.get(template).is_some_and(crate::store::Qube::is_template_for_dispvms) {
            return Err(Refusal::general(format!(
                "template for disposable ({template}) needs to have template_for_dispvms=True"
            )));
        }
    }
    let text = |property: &str| state.store.text(qube, property);
    let limit = text("qrexec_timeout").parse().unwrap_or(60);
    let memory = text("memory");
    let (uuid, class, user) = (qube.uuid, qube.class, text("default_user"));
    let qrexec = state.store.feature_with_template(name, "qrexec").is_some_and(|value| !value.is_empty());
    let domid = state.lives.next_domid().ok_or_else(|| Refusal::general("no domain id is free"))?;
    state.store.starting(name, &memory)?;
    state.lives.machines.insert(name.clone(), Machine::new(domid));
    let limit = Duration::from_secs(limit);
    Ok(Some(Some(Plan { name: name.clone(), uuid, class, template, domid, user, limit, qrexec })))
}

#[cfg(test)]
mod tests {
    use super::login_name;

    #[test]
    fn login_names_are_found_by_number() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\nbad line\n-x:x:7:7::/:\nmine:x:1000:1000:,,,:/home/mine:\n";
        assert_eq!(login_name(passwd, 1000).as_deref(), Some("mine"));
        assert_eq!(login_name(passwd, 0).as_deref(), Some("root"));
        assert_eq!(login_name(passwd, 7), None, "no user name of qrexec");
        assert_eq!(login_name(passwd, 5), None);
    }
}
