//! The answer (spec/qrexec-wire.md 9.1 and 9.2).

use std::fmt;

/// First size in bytes that is too long for an answer: the daemon reads at most 4095.
pub const REPLY_LIMIT: usize = 4096;

/// What the policy daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Go ahead.
    Allow(Grant),
    /// No.
    Deny,
}

/// What an allowed call becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The user to run as, or `DEFAULT`.
    pub user: String,
    /// A name, `uuid:UUID`, `dom0` or `@dispvm:...`.
    pub target: String,
    /// `uuid:UUID` or `@dispvm:uuid:UUID`; none for dom0.
    pub target_uuid: Option<String>,
    /// Whether the target may be started.
    pub autostart: bool,
    /// The target that was asked for, after checking.
    pub requested_target: String,
    /// Replaces service and argument (calls to a RemoteVM).
    pub service: Option<String>,
    /// Replaces the source's name in the command (calls that a relay makes for another).
    pub policy_source: Option<String>,
}

/// Why an answer is malformed. The daemon then asks its fallback program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// No byte at all.
    Empty,
    /// More than 4095 bytes.
    TooLong,
    /// A NUL byte.
    Nul,
    /// A value that is not UTF-8 text.
    NotText,
    /// A line without `=`.
    NotAPair,
    /// A known key twice.
    KeyTwice,
    /// A value that `result` or `autostart` cannot have.
    BadValue,
    /// `result` is missing, or keys that an allowed call needs are missing, or a denial has them.
    WrongKeys,
}

impl Grant {
    /// Whether the call is for dom0 itself (spec/qrexec-wire.md 9.3).
    #[must_use]
    pub fn is_for_dom0(&self) -> bool {
        crate::token::is_dom0(&self.target)
    }

    /// The name under which the target's daemon is found: by UUID where there is one (spec/qrexec-wire.md 9.3).
    #[must_use]
    pub fn socket_name(&self) -> &str {
        self.target_uuid.as_deref().unwrap_or(&self.target)
    }
}

impl fmt::Display for Grant {
    /// The lines in the order in which the policy daemon writes them, without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user={}\nresult=allow\ntarget={}", self.user, self.target)?;
        if let Some(uuid) = &self.target_uuid {
            write!(f, "\ntarget_uuid={uuid}")?;
        }
        let autostart = if self.autostart { "True" } else { "False" };
        write!(f, "\nautostart={autostart}\nrequested_target={}", self.requested_target)?;
        if let Some(service) = &self.service {
            write!(f, "\nservice={service}")?;
        }
        if let Some(source) = &self.policy_source {
            write!(f, "\npolicy_source={source}")?;
        }
        Ok(())
    }
}

impl Reply {
    /// The answer as it is written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Allow(grant) => grant.to_string().into_bytes(),
            Self::Deny => b"result=deny".to_vec(),
        }
    }

    /// Parses an answer as the qrexec daemon does: unknown keys are ignored, one newline at the end is too.
    ///
    /// # Errors
    /// [`ReplyError`] when the answer is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReplyError> {
        if bytes.is_empty() {
            return Err(ReplyError::Empty);
        }
        if bytes.len() >= REPLY_LIMIT {
            return Err(ReplyError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(ReplyError::Nul);
        }
        let mut values: [Option<String>; KEYS.len()] = Default::default();
        for line in bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|&byte| byte == b'\n') {
            let end = line.iter().position(|&byte| byte == b'=').ok_or(ReplyError::NotAPair)?;
            let (key, value) = line.split_at(end);
            let Some((slot, key)) = values.iter_mut().zip(KEYS).find(|(_, known)| known.as_bytes() == key)
            else {
                log::warn!("policy reply: unknown key {:?} ignored", names::printable(key));
                continue;
            };
            let value =
                std::str::from_utf8(value.get(1..).unwrap_or_default()).map_err(|_| ReplyError::NotText)?;
            let legal = match *key {
                "result" => matches!(value, "allow" | "deny"),
                "autostart" => matches!(value, "True" | "False"),
                _ => true,
            };
            if !legal {
                return Err(ReplyError::BadValue);
            }
            if slot.replace(value.to_owned()).is_some() {
                return Err(ReplyError::KeyTwice);
            }
        }
        match values {
            [
                Some(result),
                Some(user),
                Some(target),
                target_uuid,
                Some(autostart),
                Some(requested_target),
                service,
                policy_source,
            ] if result == "allow" => Ok(Self::Allow(Grant {
                user,
                target,
                target_uuid,
                autostart: autostart == "True",
                requested_target,
                service,
                policy_source,
            })),
            [Some(result), None, None, _, None, None, _, _] if result == "deny" => Ok(Self::Deny),
            _ => Err(ReplyError::WrongKeys),
        }
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the policy daemon answered nothing",
            Self::TooLong => "the policy reply has more than 4095 bytes",
            Self::Nul => "the policy reply has a NUL byte",
            Self::NotText => "the policy reply is not text",
            Self::NotAPair => "a line of the policy reply has no \"=\"",
            Self::KeyTwice => "the policy reply has a key twice",
            Self::BadValue => "the policy reply has a bad value for result or autostart",
            Self::WrongKeys => "the keys of the policy reply fit neither an allowed nor a denied call",
        })
    }
}

impl std::error::Error for ReplyError {}

const KEYS: &[&str; 8] =
    &["result", "user", "target", "target_uuid", "autostart", "requested_target", "service", "policy_source"];

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: &str = "user=DEFAULT\nresult=allow\ntarget=vault\ntarget_uuid=uuid:x\nautostart=True\n\
                         requested_target=vault\nservice=a+b\npolicy_source=remote";

    #[test]
    fn round_trip() {
        let reply = Reply::parse(ALLOW.as_bytes()).unwrap();
        assert_eq!(reply.to_bytes(), ALLOW.as_bytes());
        assert_eq!(Reply::parse(format!("{ALLOW}\n").as_bytes()), Ok(reply));
        assert_eq!(Reply::parse(b"result=deny\n"), Ok(Reply::Deny));
        assert_eq!(Reply::parse(&Reply::Deny.to_bytes()), Ok(Reply::Deny));
    }

    #[test]
    fn what_the_daemon_ignores_and_what_it_does_not() {
        for good in ["result=deny\nextra=1\nextra=2", "result=deny\ntarget_uuid=x", "result=deny\nservice="] {
            assert_eq!(Reply::parse(good.as_bytes()), Ok(Reply::Deny), "{good}");
        }
        let bad: [(&str, ReplyError); 11] = [
            ("", ReplyError::Empty),
            ("\n", ReplyError::NotAPair),
            ("result=deny\n\n", ReplyError::NotAPair),
            ("result=deny\nword", ReplyError::NotAPair),
            ("result=deny\nresult=deny", ReplyError::KeyTwice),
            ("result=Deny", ReplyError::BadValue),
            ("result=deny\nautostart=yes", ReplyError::BadValue),
            ("result=deny\nuser=x", ReplyError::WrongKeys),
            ("result=deny\0", ReplyError::Nul),
            ("user=x\ntarget=y", ReplyError::WrongKeys),
            ("result=allow\nuser=a\ntarget=b\nautostart=True", ReplyError::WrongKeys),
        ];
        for (text, error) in bad {
            assert_eq!(Reply::parse(text.as_bytes()), Err(error), "{text:?}");
        }
        assert_eq!(Reply::parse(&[b'a'; REPLY_LIMIT]), Err(ReplyError::TooLong));
        assert_eq!(Reply::parse(b"result=deny\nservice=\xff"), Err(ReplyError::NotText));
    }
}
