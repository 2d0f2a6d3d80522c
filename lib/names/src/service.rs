//! Services and their arguments.

use crate::NameError;
use std::fmt;
use std::str::FromStr;

/// The name of a qrexec service without argument: 1 to 255 letters, digits, `-`, `.` and `_`
/// (spec/qrexec-exec.md, section 1; the character set is what the daemon lets through, spec/qrexec-wire.md 2.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceName(String);

impl ServiceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(NameError::new(
                "service name",
                text,
                "1 to 255 letters, digits, \"-\", \".\" and \"_\"",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The argument of a call: what follows the first `+`; may be empty and may contain more `+`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Argument(String);

impl Argument {
    /// The argument as text, without the leading `+`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Argument {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'+');
        if text.len() > 64_999 || !text.bytes().all(allowed) {
            return Err(NameError::new(
                "service argument",
                text,
                "letters, digits, \"-\", \".\", \"_\" and \"+\"",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A service with its argument: `SERVICE` or `SERVICE+ARGUMENT`, together at most 65,000 bytes
/// (spec/qrexec-wire.md 1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceCall {
    /// The service.
    pub service: ServiceName,
    /// The argument; `None` when there was no `+`.
    pub argument: Option<Argument>,
}

impl ServiceCall {
    /// The full descriptor used for look-up: `SERVICE+ARGUMENT`, with a `+` even when there is no argument.
    #[must_use]
    pub fn descriptor(&self) -> String {
        let argument = self.argument.as_ref().map_or("", Argument::as_str);
        format!("{}+{argument}", self.service)
    }
}

impl FromStr for ServiceCall {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > 65_000 {
            return Err(NameError::new("service call", text, "at most 65000 bytes"));
        }
        match text.split_once('+') {
            Some((service, argument)) => {
                Ok(Self { service: service.parse()?, argument: Some(argument.parse()?) })
            }
            None => Ok(Self { service: text.parse()?, argument: None }),
        }
    }
}

impl fmt::Display for ServiceCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)?;
        match &self.argument {
            Some(argument) => write!(f, "+{}", argument.as_str()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_plus() {
        let call: ServiceCall = "test.Service+a+b".parse().unwrap();
        assert_eq!(call.service.as_str(), "test.Service");
        assert_eq!(call.argument.as_ref().unwrap().as_str(), "a+b");
        assert_eq!(call.to_string(), "test.Service+a+b");
        assert_eq!("x".parse::<ServiceCall>().unwrap().descriptor(), "x+");
        for bad in ["", "+", "+a", "a/b", "a b", "a+b c", "a\0"] {
            assert!(bad.parse::<ServiceCall>().is_err(), "{bad}");
        }
    }
}
