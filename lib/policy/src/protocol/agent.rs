//! What the policy agent of a qube with a screen is asked and told (spec/qrexec-wire.md 9.5).

use crate::ask::Ask;
use crate::call::Call;
use crate::system::SystemInfo;
use serde_json::{Map, Value};

/// The service that asks the user.
pub const ASK_SERVICE: &str = "policy.Ask";
/// The service that tells the user.
pub const NOTIFY_SERVICE: &str = "policy.Notify";
/// First size in bytes that is too long for an answer: `allow:` and a target, with room to spare.
pub const AGENT_ANSWER_LIMIT: usize = 1024;

/// What the user says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentAnswer {
    /// Yes, with this target.
    Allow(String),
    /// No.
    Deny,
    /// Something that is no answer; the call is refused.
    Invalid,
}

impl AgentAnswer {
    /// Reads all that the agent sent up to the end of its stream.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) if text.is_ascii() && text.len() < AGENT_ANSWER_LIMIT => text,
            _ => return Self::Invalid,
        };
        match text.strip_prefix("allow:") {
            Some(target) => Self::Allow(target.to_owned()),
            None if text == "deny" => Self::Deny,
            None => Self::Invalid,
        }
    }
}

/// How a call ended, as the user is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// The service was allowed to run.
    Allow,
    /// It was not.
    Deny,
    /// It was allowed, but could not be started.
    Fail,
}

impl Ask {
    /// The question as the agent reads it: one JSON object, ASCII.
    #[must_use]
    pub fn to_json(&self, system: &SystemInfo) -> Vec<u8> {
        let mut icons = Map::new();
        for qube in system.qubes() {
            icons.insert(qube.name.clone(), qube.icon.clone().into());
            if qube.template_for_dispvms {
                icons.insert(format!("@dispvm:{}", qube.name), qube.icon.replace("app", "disp").into());
            }
        }
        object([
            ("source", self.source.clone().into()),
            ("service", self.service.clone().into()),
            ("argument", self.argument.clone().into()),
            ("targets", self.targets.clone().into()),
            ("default_target", self.default_target.clone().unwrap_or_default().into()),
            ("icons", icons.into()),
        ])
    }

    /// The qube whose user is asked; `None` when the caller has no guivm, and the call is refused then.
    #[must_use]
    pub fn guivm<'s>(&self, system: &'s SystemInfo) -> Option<&'s str> {
        guivm(&self.source, system)
    }
}

/// The qube whose user hears of the calls of `source`.
#[must_use]
pub fn guivm<'s>(source: &str, system: &'s SystemInfo) -> Option<&'s str> {
    system.get(source)?.guivm.as_deref().filter(|name| !name.is_empty())
}

/// A notification as the agent reads it: one JSON object, ASCII. `target` is where the call went, or what was asked
/// for when it was refused.
#[must_use]
pub fn notification(resolution: Resolution, call: &Call<'_>, target: &str) -> Vec<u8> {
    let resolution = match resolution {
        Resolution::Allow => "allow",
        Resolution::Deny => "deny",
        Resolution::Fail => "fail",
    };
    object([
        ("resolution", resolution.into()),
        ("service", call.service.into()),
        ("argument", call.argument.into()),
        ("source", call.source.into()),
        ("target", target.into()),
    ])
}

/// What goes before the JSON on the agent's socket in dom0.
#[must_use]
pub fn preamble(service: &str) -> Vec<u8> {
    format!("{service} dom0 name dom0\0").into_bytes()
}

fn object<const N: usize>(pairs: [(&str, Value); N]) -> Vec<u8> {
    let map: Map<String, Value> = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let mut ascii = String::new();
    for character in Value::Object(map).to_string().chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            // JSON has UTF-16 units after \u.
            character
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}")));
        }
    }
    ascii.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (text, answer) in [
            (&b"allow:vault"[..], AgentAnswer::Allow("vault".into())),
            (b"allow:@dispvm:dvm", AgentAnswer::Allow("@dispvm:dvm".into())),
            (b"allow:", AgentAnswer::Allow(String::new())),
            (b"deny", AgentAnswer::Deny),
            (b"", AgentAnswer::Invalid),
            (b"deny\n", AgentAnswer::Invalid),
            (b"Allow:vault", AgentAnswer::Invalid),
            (b"allow:\xc3\xa9", AgentAnswer::Invalid),
            (b"allow:\xff", AgentAnswer::Invalid),
        ] {
            assert_eq!(AgentAnswer::parse(text), answer);
        }
        let long = [b"allow:".as_slice(), &[b'a'; AGENT_ANSWER_LIMIT]].concat();
        assert_eq!(AgentAnswer::parse(&long), AgentAnswer::Invalid);
    }

    #[test]
    fn notifications_are_ascii() {
        let call = Call::new("work", "a.B+\u{1f600}\u{e9}\"", "x");
        let bytes = notification(Resolution::Deny, &call, "vault");
        assert!(bytes.is_ascii());
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["argument"], "+\u{1f600}\u{e9}\"");
        assert_eq!((&value["resolution"], &value["target"]), (&"deny".into(), &"vault".into()));
    }
}
