//! `qrexec-policy-exec`: decides one call and ends (spec/qrexec-wire.md 9.4). qrexec-daemon runs it when the policy daemon
//! gives no usable answer; the arguments, the answer and the exit codes are those of the program of Qubes OS.
//!
//! | module | what it is | pure |
//! |---|---|---|
//! | [`options`] | the command line | yes |
//! | [`agent`] | asks and tells the user, by the policy agent | |
#![forbid(unsafe_code)]

pub mod agent;
pub mod options;

use agent::Agents;
use disposable::config::Config;
use options::Options;
use policy::protocol::Request;
use policy::{Decision, Policy, SystemInfo};
use std::ffi::OsString;
use std::io::Write;

/// Decides one call. `words` is the command line without argv\[0\]. Returns 0 for allowed, 1 for denied and for every
/// trouble, 2 for a command line that cannot be meant. What is to be said about it goes to stderr, in one line.
#[must_use]
pub fn main(words: &[OsString]) -> u8 {
    if let Err(error) = os::descriptors::close_inherited() {
        return fail(&format!("cannot close inherited descriptors: {error}"), 1);
    }
    let options = match options::parse(words) {
        Ok(options) => options,
        Err(error) => return fail(&error, 2),
    };
    let system = match system() {
        Ok(Seen::System(system)) => system,
        Ok(Seen::Refused(cause)) => {
            log::warn!("denied: {cause}");
            return answer(&options.request, b"result=deny", false);
        }
        // As upstream: no answer at all, so that nobody takes this for a decision.
        Err(cause) => return fail(&cause, 1),
    };
    let agents = Agents::from_environment();
    let decision = decide(&options, &system, &agents);
    let exit = answer(&options.request, &options.request.answer(&decision), decision.is_allowed());
    if !options.request.just_evaluate {
        agents.notify(&options.request.call(), &decision, &system);
    }
    exit
}

fn decide(options: &Options, system: &SystemInfo, agents: &Agents) -> Decision {
    let request = &options.request;
    let decision = match Policy::load(&options.directories) {
        Ok(policy) => policy.evaluate(&request.call(), system, policy::Options::default()),
        Err(error) => Decision::broken(error),
    };
    let decision = match request.settle(decision, system) {
        Decision::Ask(ask) => agents.decide(&ask, system),
        settled => settled,
    };
    match &decision {
        Decision::Deny(deny) => log::warn!("denied: {deny}"),
        Decision::Allow(allow) => log::info!("allowed by {}", allow.rule),
        Decision::Ask(ask) => log::warn!("denied: {} asks, and nobody answered", ask.rule),
    }
    decision
}

enum Seen {
    System(SystemInfo),
    /// qubesd answered with an error, which denies the call (spec/policy.md, section 9).
    Refused(String),
}

fn system() -> Result<Seen, String> {
    let config = Config::load().map_err(|error| error.to_string())?;
    let socket = &config.qubesd_internal_socket;
    let trouble = |cause: String| {
        format!("cannot learn about the qubes from {}: {cause}; is qubesd running?", socket.display())
    };
    match admin::Client::new(socket).system_info_json() {
        Ok(json) => {
            SystemInfo::from_json(&json).map(Seen::System).map_err(|error| trouble(error.to_string()))
        }
        Err(error @ admin::AdminError::Refused { .. }) => Ok(Seen::Refused(trouble(error.to_string()))),
        Err(error) => Err(trouble(error.to_string())),
    }
}

/// Prints the answer, unless it was only asked whether. An answer that nobody takes allows nothing.
fn answer(request: &Request, bytes: &[u8], is_allowed: bool) -> u8 {
    if !request.just_evaluate {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(&[bytes, b"\n"].concat()).and_then(|()| out.flush());
        if let Err(error) = written {
            return fail(&format!("cannot write the answer: {error}"), 1);
        }
    }
    u8::from(!is_allowed)
}

fn fail(text: &str, exit: u8) -> u8 {
    drop(writeln!(std::io::stderr(), "qrexec-policy-exec: {text}"));
    exit
}
