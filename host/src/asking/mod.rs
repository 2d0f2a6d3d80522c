//! Who answers when a rule says that the user decides.
//!
//! Nothing is taken from the queue and nothing is started while a question is open: the program that does so is started
//! only after the answer.

mod terminal;

use crate::dom0::Dom0;
use names::Target;
use policy::protocol::NOTIFY_SERVICE;
use policy::{Ask, Call, Decision, DenyReason};
use qrexec_policy_exec::agent::Agents;
use std::os::unix::net::UnixStream;

/// How a host answers the policy's questions to the user. A policy agent that serves `policy.Ask` in the host's
/// `etc/qubes-rpc` is asked before the terminal; one that serves `policy.Notify` is told of decisions whose rules say so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Asking {
    /// Nobody can be asked: refused.
    #[default]
    Nobody,
    /// Always this target, where it is among the choices; for tests and scripts.
    Assume(Target),
    /// The user at the terminal of this process.
    Terminal,
}

/// Tells the user of a decision whose rule says so, where dom0 has a policy agent.
pub(crate) fn notify(dom0: &Dom0, call: &Call<'_>, decision: &Decision) {
    if dom0.layout().services().join(NOTIFY_SERVICE).exists() {
        agents(dom0).notify_in("dom0", call, decision);
    }
}

fn agents(dom0: &Dom0) -> Agents {
    let services = vec![dom0.layout().services()];
    Agents { services, client: dom0.layout().state().join("etc/qrexec-client") }
}

/// Has a question answered. `caller` is the connection of the daemon that waits for it.
pub(crate) fn decide(dom0: &Dom0, ask: &Ask, caller: &UnixStream) -> Decision {
    let asking = &dom0.config.asking;
    if let Asking::Assume(target) = asking {
        return assume(dom0, ask, target);
    }
    let agents = agents(dom0);
    match asking {
        // Whatever guivm a qube has: all windows of this host are dom0's.
        _ if agents.has_local() => agents.decide_in("dom0", ask, &dom0.system_info().system),
        Asking::Terminal => match terminal::ask(ask, caller, || dom0.look(|state| state.lives.stopping)) {
            Ok(Some(choice)) => ask.answer(&choice, &dom0.system_info().system),
            Ok(None) => ask.refuse(),
            Err(reason) => ask.refuse_because(DenyReason::NobodyToAsk(reason)),
        },
        _ => ask.refuse_because(DenyReason::NobodyToAsk(NOBODY.to_owned())),
    }
}

/// `@dispvm` stands for what the question offers in its place: a disposable of the caller's default_dispvm.
fn assume(dom0: &Dom0, ask: &Ask, target: &Target) -> Decision {
    let info = dom0.system_info();
    let choice = match target {
        Target::AdminVm => "dom0".to_owned(),
        Target::Dispvm => match info.system.get(&ask.source).and_then(|info| info.default_dispvm.as_ref()) {
            Some(template) => format!("@dispvm:{template}"),
            None => target.to_string(),
        },
        target => target.to_string(),
    };
    ask.answer(&choice, &info.system)
}

const NOBODY: &str = "stdin is no terminal, there is no policy agent, and --assume TARGET was not given; \
                      a rule in etc/policy.d/30-user.policy can allow the call without a question";
