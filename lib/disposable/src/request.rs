//! Who asks for what: the QREXEC_* variables of a dom0 service, parsed once (promise P7).

use crate::error::CallError;
use names::{Argument, QubeName, ServiceCall, ServiceName, Target};
use std::ffi::OsString;

/// One request as qrexec-daemon passes it on (spec/qrexec-exec.md 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The service to run in the disposable, with its argument.
    pub service: ServiceCall,
    /// The qube that called.
    pub source: QubeName,
    /// The target that it asked for.
    pub target: Target,
}

impl Request {
    /// Parses the environment of a dom0 service. `lookup` gives the value of a variable, if set.
    ///
    /// # Errors
    /// A refusal that names the variable, when one is missing or is not what it should be. Values are shown sanitised.
    pub fn parse(service: ServiceName, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, CallError> {
        let text = |variable: &str| match lookup(variable).map(OsString::into_string) {
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(bad(variable, "not text")),
            None => Ok(None),
        };
        let source = text("QREXEC_REMOTE_DOMAIN")?.ok_or_else(|| bad("QREXEC_REMOTE_DOMAIN", "not set"))?;
        let source: QubeName = source.parse().map_err(|error| bad("QREXEC_REMOTE_DOMAIN", error))?;
        let argument = match text("QREXEC_SERVICE_ARGUMENT")? {
            Some(text) => {
                Some(text.parse::<Argument>().map_err(|error| bad("QREXEC_SERVICE_ARGUMENT", error))?)
            }
            None => None,
        };
        let kind = text("QREXEC_REQUESTED_TARGET_TYPE")?.unwrap_or_default();
        let target = match kind.as_str() {
            "name" => text("QREXEC_REQUESTED_TARGET")?,
            "keyword" => text("QREXEC_REQUESTED_TARGET_KEYWORD")?.map(|word| format!("@{word}")),
            "" => None,
            other => return Err(bad("QREXEC_REQUESTED_TARGET_TYPE", names::printable(other.as_bytes()))),
        };
        let target = target.ok_or_else(|| bad("QREXEC_REQUESTED_TARGET", "not set"))?;
        let target: Target = target.parse().map_err(|error| bad("QREXEC_REQUESTED_TARGET", error))?;
        Ok(Self { service: ServiceCall { service, argument }, source, target })
    }

    /// The command for the agent of the disposable (spec/qrexec-exec.md, section 1).
    #[must_use]
    pub fn command(&self) -> String {
        format!("DEFAULT:QUBESRPC {} {}", self.service.descriptor(), self.source)
    }
}

fn bad(variable: &str, cause: impl std::fmt::Display) -> CallError {
    CallError::refused("read the request from", variable, cause)
        .remedy("this program is started by qrexec-daemon as a service, not by hand")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(vars: &[(&str, &str)]) -> Result<Request, CallError> {
        Request::parse("qubes.OpenInVM".parse().unwrap(), |name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    const KEYWORD: (&str, &str) = ("QREXEC_REQUESTED_TARGET_TYPE", "keyword");
    const WORK: (&str, &str) = ("QREXEC_REMOTE_DOMAIN", "work");

    #[test]
    fn keyword_and_argument() {
        let request = parse(&[
            WORK,
            KEYWORD,
            ("QREXEC_REQUESTED_TARGET_KEYWORD", "dispvm:x"),
            ("QREXEC_SERVICE_ARGUMENT", ""),
        ])
        .unwrap();
        assert_eq!(request.target.to_string(), "@dispvm:x");
        assert_eq!(request.command(), "DEFAULT:QUBESRPC qubes.OpenInVM+ work");
    }

    #[test]
    fn p7_values_that_are_no_names_are_refused_with_126() {
        for vars in [
            &[KEYWORD, ("QREXEC_REQUESTED_TARGET_KEYWORD", "dispvm")][..],
            &[("QREXEC_REMOTE_DOMAIN", "../x"), KEYWORD, ("QREXEC_REQUESTED_TARGET_KEYWORD", "dispvm")],
            &[WORK, KEYWORD],
            &[WORK],
            &[WORK, KEYWORD, ("QREXEC_REQUESTED_TARGET_KEYWORD", "dispvm:../x")],
            &[
                WORK,
                KEYWORD,
                ("QREXEC_REQUESTED_TARGET_KEYWORD", "dispvm"),
                ("QREXEC_SERVICE_ARGUMENT", "a b"),
            ],
            &[WORK, ("QREXEC_REQUESTED_TARGET_TYPE", "x\x1b["), ("QREXEC_REQUESTED_TARGET", "dispvm")],
        ] {
            let error = parse(vars).unwrap_err();
            assert_eq!(error.exit_code(), 126);
            assert!(!error.to_string().contains('\x1b'));
        }
    }
}
