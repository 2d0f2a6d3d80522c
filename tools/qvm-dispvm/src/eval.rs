//! `policy eval`: the reply that qrexec-daemon would get. Pure.

use crate::Outcome;
use policy::{Call, Decision, LoadError, Options, Policy, SystemInfo};

pub(crate) const ALLOWED: u8 = 0;
pub(crate) const DENIED: u8 = 1;
pub(crate) const ASKED: u8 = 2;

pub(crate) fn outcome(
    policy: &Result<Policy, LoadError>,
    call: &Call<'_>,
    options: Options,
    system: &SystemInfo,
) -> Outcome {
    let policy = match policy {
        Ok(policy) => policy,
        Err(error) => {
            let reason = format!("denied: the policy is broken, nothing is allowed: {error}\n");
            return Outcome { out: "result=deny\n".into(), reason, exit: DENIED };
        }
    };
    match policy.evaluate(call, system, options) {
        Decision::Allow(allow) => Outcome {
            out: format!("{}\n", allow.to_reply()),
            reason: format!("allowed by {}\n", allow.rule),
            exit: ALLOWED,
        },
        Decision::Deny(deny) => {
            Outcome { out: "result=deny\n".into(), reason: format!("denied: {deny}\n"), exit: DENIED }
        }
        Decision::Ask(ask) => {
            let default = ask.default_target.as_deref().unwrap_or_default();
            let mut out =
                format!("result=ask\ntargets={}\ndefault_target={default}\n", ask.targets.join(" "));
            let mut reason = format!("the user is asked, by {}\n", ask.rule);
            for choice in &ask.targets {
                let decision = ask.answer(choice, system);
                out.push_str(&format!("\nchoice={choice}\n"));
                out.push_str(&String::from_utf8_lossy(&decision.reply().to_bytes()));
                out.push('\n');
                if let Decision::Deny(deny) = decision {
                    reason.push_str(&format!("choice {choice}: denied: {}\n", deny.reason));
                }
            }
            Outcome { out, reason, exit: ASKED }
        }
    }
}
