//! The question (spec/qrexec-wire.md 9.1).

use crate::call::Call;
use crate::decision::Decision;
use crate::system::SystemInfo;
use names::printable;
use std::fmt;

/// Bytes after which a server stops to read a request. A service with argument has at most 65,000
/// (spec/qrexec-wire.md 1.3); the rest is ample for the other lines.
pub const REQUEST_LIMIT: usize = 66_560;

/// May this source call this service there? No text holds a newline or a byte above 127.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// The calling qube as its daemon knows it.
    pub source: String,
    /// The target as the caller wrote it; may be empty.
    pub intended_target: String,
    /// SERVICE or SERVICE+ARGUMENT.
    pub service_and_arg: String,
    /// For whom a relay calls; `Some("")` is written for MSG_TRIGGER_SERVICE4 without one.
    pub requested_source: Option<String>,
    /// Answer a question to the user with yes.
    pub assume_yes_for_ask: bool,
    /// Only say whether it would be allowed; a question counts as no.
    pub just_evaluate: bool,
}

/// Why a request is none. The server then closes the connection without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// Longer than [`REQUEST_LIMIT`].
    TooLong,
    /// A byte above 127.
    NotAscii,
    /// A line without `=`.
    NotAPair,
    /// A key that is not known.
    UnknownKey(String),
    /// The same key twice.
    KeyTwice(&'static str),
    /// A value that must be yes or no.
    NotYesNo(&'static str),
    /// A key that must be there.
    KeyMissing(&'static str),
}

impl Request {
    /// The call that this request is about.
    #[must_use]
    pub fn call(&self) -> Call<'_> {
        Call {
            requested_source: self.requested_source.as_deref(),
            ..Call::new(&self.source, &self.service_and_arg, &self.intended_target)
        }
    }

    /// What is left of a decision after the request's own switches: a question to the user is answered with yes, or
    /// counts as no. A question that comes back as it was is for the user.
    #[must_use]
    pub fn settle(&self, decision: Decision, system: &SystemInfo) -> Decision {
        match decision {
            Decision::Ask(ask) if self.assume_yes_for_ask => ask.assume_yes(system),
            Decision::Ask(ask) if self.just_evaluate => ask.refuse(),
            other => other,
        }
    }

    /// The bytes to answer with. A question that is still open is a denial. With `just_evaluate` an allowed call gets
    /// the line `result=allow` alone (spec/qrexec-wire.md 9.4). A call that could never run, such as one of a qube to
    /// itself, is denied here as well, where the reference implementation says `allow` when it just evaluates.
    #[must_use]
    pub fn answer(&self, decision: &Decision) -> Vec<u8> {
        if self.just_evaluate && decision.is_allowed() {
            return b"result=allow".to_vec();
        }
        decision.reply().to_bytes()
    }

    /// Whether a server has read enough: up to the empty line. (End of file ends a request as well.)
    #[must_use]
    pub fn is_complete(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\n") || bytes.windows(2).any(|pair| pair == b"\n\n")
    }

    /// Parses what was read up to the end of file or the empty line; whatever follows that line is ignored.
    ///
    /// # Errors
    /// The first rule of spec/qrexec-wire.md 9.1 that is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > REQUEST_LIMIT {
            return Err(RequestError::TooLong);
        }
        let mut values: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        for line in bytes.split(|&byte| byte == b'\n') {
            if line.is_empty() {
                break;
            }
            if !line.is_ascii() {
                return Err(RequestError::NotAscii);
            }
            let line = std::str::from_utf8(line).map_err(|_| RequestError::NotAscii)?;
            let (key, value) = line.split_once('=').ok_or(RequestError::NotAPair)?;
            let Some((slot, &known)) = values.iter_mut().zip(KEYS).find(|(_, known)| **known == key) else {
                return Err(RequestError::UnknownKey(key.to_owned()));
            };
            if slot.replace(value).is_some() {
                return Err(RequestError::KeyTwice(known));
            }
        }
        let [source, target, service, requested_source, assume_yes, just_evaluate] = values;
        let required =
            |value: Option<&str>, key| value.map(str::to_owned).ok_or(RequestError::KeyMissing(key));
        let flag = |value: Option<&str>, key| match value {
            Some("yes") => Ok(true),
            Some("no") | None => Ok(false),
            Some(_) => Err(RequestError::NotYesNo(key)),
        };
        Ok(Self {
            assume_yes_for_ask: flag(assume_yes, "assume_yes_for_ask")?,
            just_evaluate: flag(just_evaluate, "just_evaluate")?,
            source: required(source, "source")?,
            intended_target: required(target, "intended_target")?,
            service_and_arg: required(service, "service_and_arg")?,
            requested_source: requested_source.map(str::to_owned),
        })
    }

    /// The request as a daemon writes it, the empty line included.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("source={}\n", self.source);
        if let Some(requested) = &self.requested_source {
            text.push_str(&format!("requested_source={requested}\n"));
        }
        text.push_str(&format!(
            "intended_target={}\nservice_and_arg={}\n",
            self.intended_target, self.service_and_arg
        ));
        if self.assume_yes_for_ask {
            text.push_str("assume_yes_for_ask=yes\n");
        }
        if self.just_evaluate {
            text.push_str("just_evaluate=yes\n");
        }
        text.push('\n');
        text.into_bytes()
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the policy request has more than {REQUEST_LIMIT} bytes"),
            Self::NotAscii => f.write_str("the policy request has a byte above 127"),
            Self::NotAPair => f.write_str("a line of the policy request has no \"=\""),
            Self::UnknownKey(key) => {
                write!(f, "the policy request has the unknown key \"{}\"", printable(key.as_bytes()))
            }
            Self::KeyTwice(key) => write!(f, "the policy request has {key} twice"),
            Self::NotYesNo(key) => write!(f, "{key} in the policy request is neither yes nor no"),
            Self::KeyMissing(key) => write!(f, "the policy request lacks {key}"),
        }
    }
}

impl std::error::Error for RequestError {}

const KEYS: &[&str; 6] = &[
    "source",
    "intended_target",
    "service_and_arg",
    "requested_source",
    "assume_yes_for_ask",
    "just_evaluate",
];

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"source=work\nintended_target=@dispvm\nservice_and_arg=qubes.OpenInVM\n\n";

    #[test]
    fn plain_request() {
        let request = Request::parse(PLAIN).unwrap();
        assert_eq!(request.to_bytes(), PLAIN);
        assert!(Request::is_complete(PLAIN));
        assert!(!Request::is_complete(&PLAIN[..PLAIN.len() - 1]));
        let call = request.call();
        assert_eq!((call.service, call.argument, call.target), ("qubes.OpenInVM", "+", "@dispvm"));
    }

    #[test]
    fn order_is_free_and_the_end_of_file_ends_it() {
        let text =
            b"service_and_arg=a+b+c=d\nrequested_source=\njust_evaluate=yes\nintended_target=\nsource=x";
        let request = Request::parse(text).unwrap();
        assert_eq!(request.requested_source.as_deref(), Some(""));
        assert!(request.just_evaluate && !request.assume_yes_for_ask);
        let call = request.call();
        assert_eq!((call.service, call.argument), ("a", "+b+c=d"));
        assert_eq!(Request::parse(&request.to_bytes()).unwrap(), request);
    }

    #[test]
    fn errors_close_without_answer() {
        let with = |line: &str| {
            let mut text = PLAIN.strip_suffix(b"\n").unwrap().to_vec();
            text.extend_from_slice(line.as_bytes());
            Request::parse(&text)
        };
        assert_eq!(with("source=y\n"), Err(RequestError::KeyTwice("source")));
        assert_eq!(with("target=y\n"), Err(RequestError::UnknownKey("target".into())));
        assert_eq!(with("just_evaluate=true\n"), Err(RequestError::NotYesNo("just_evaluate")));
        assert_eq!(with("source\n"), Err(RequestError::NotAPair));
        assert_eq!(with("requested_source=\u{e9}\n"), Err(RequestError::NotAscii));
        assert_eq!(with("\nwhat follows the empty line is not read \u{e9}"), Request::parse(PLAIN));
        assert_eq!(Request::parse(b""), Err(RequestError::KeyMissing("source")));
        assert_eq!(Request::parse(&vec![b'a'; REQUEST_LIMIT + 1]), Err(RequestError::TooLong));
    }
}
