//! The command lines of qvm-open-in-vm and qvm-open-in-dvm (spec/open-file.md, section 1).

use crate::shown::shown;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::os::unix::ffi::OsStrExt;

/// qrexec-client-vm cuts a target to this many bytes (spec/qrexec-wire.md, section 10): a longer one would name another qube.
const LONGEST_TARGET: usize = 63;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    OpenInVm,
    OpenInDvm,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OpenInVm => "qvm-open-in-vm",
            Self::OpenInDvm => "qvm-open-in-dvm",
        }
    }

    pub(crate) fn usage(self) -> &'static str {
        match self {
            Self::OpenInVm => "usage: qvm-open-in-vm [--view-only] [--] TARGET FILE_OR_URL...",
            Self::OpenInDvm => "usage: qvm-open-in-dvm [--view-only] [--] FILE_OR_URL...",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Help,
    Open(Order),
}

/// What to open where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) target: OsString,
    pub(crate) view_only: bool,
    /// Files and URLs as written, at least one, none empty.
    pub(crate) subjects: Vec<OsString>,
}

impl Order {
    /// Whether this asks for a new disposable.
    pub(crate) fn wants_disposable(&self) -> bool {
        let target = self.target.as_bytes();
        target == b"@dispvm" || target.starts_with(b"@dispvm:")
    }
}

pub(crate) fn parse(program: Program, args: &[OsString]) -> Result<Request, UsageError> {
    let mut view_only = false;
    let mut options = true;
    let mut words = Vec::new();
    for arg in args {
        match arg.as_bytes() {
            b"--" if options => options = false,
            b"--help" if options => return Ok(Request::Help),
            b"--view-only" if options => view_only = true,
            [b'-', ..] if options => return Err(UsageError::UnknownOption(arg.clone())),
            _ => words.push(arg.clone()),
        }
    }
    let mut words = words.into_iter();
    let target = match program {
        Program::OpenInVm => parse_target(&words.next().ok_or(UsageError::NoTarget)?)?,
        Program::OpenInDvm => OsString::from("@dispvm"),
    };
    let subjects: Vec<OsString> = words.collect();
    if subjects.is_empty() {
        return Err(UsageError::NoSubject);
    }
    if subjects.iter().any(|subject| subject.is_empty()) {
        return Err(UsageError::EmptySubject);
    }
    Ok(Request::Open(Order { target, view_only, subjects }))
}

/// A target in its usual spelling: `$` is an old way to write `@`.
fn parse_target(word: &OsStr) -> Result<OsString, UsageError> {
    if word.is_empty() {
        return Err(UsageError::NoTarget);
    }
    if word.len() > LONGEST_TARGET {
        return Err(UsageError::LongTarget(word.to_owned()));
    }
    let bytes: Vec<u8> = word.as_bytes().iter().map(|&b| if b == b'$' { b'@' } else { b }).collect();
    Ok(OsStr::from_bytes(&bytes).to_owned())
}

/// Why a command line makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UsageError {
    UnknownOption(OsString),
    NoTarget,
    LongTarget(OsString),
    NoSubject,
    EmptySubject,
}

impl Display for UsageError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOption(option) => {
                write!(f, "unknown option \"{}\" (a file of this name: put -- before it)", shown(option))
            }
            Self::NoTarget => f.write_str("no target qube given"),
            Self::LongTarget(target) => {
                write!(f, "no qube has a name of more than {LONGEST_TARGET} bytes: \"{}\"", shown(target))
            }
            Self::NoSubject => f.write_str("no file or URL given"),
            Self::EmptySubject => f.write_str("an empty word is no file and no URL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(program: Program, words: &[&str]) -> Result<Request, UsageError> {
        parse(program, &words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    fn open(target: &str, view_only: bool, subjects: &[&str]) -> Result<Request, UsageError> {
        let subjects = subjects.iter().map(OsString::from).collect();
        Ok(Request::Open(Order { target: target.into(), view_only, subjects }))
    }

    #[test]
    fn spec_1_rules() {
        use Program::{OpenInDvm, OpenInVm};
        assert_eq!(order(OpenInDvm, &["a"]), open("@dispvm", false, &["a"]));
        assert_eq!(
            order(OpenInDvm, &["a", "--view-only", "b", "--view-only"]),
            open("@dispvm", true, &["a", "b"])
        );
        assert_eq!(
            order(OpenInDvm, &["--", "--view-only", "-"]),
            open("@dispvm", false, &["--view-only", "-"])
        );
        assert_eq!(order(OpenInVm, &["$dispvm:x", "a"]), open("@dispvm:x", false, &["a"]));
        assert_eq!(order(OpenInVm, &["a", "--help", "-x"]), Ok(Request::Help));
        assert_eq!(order(OpenInVm, &["-x", "--help"]), Err(UsageError::UnknownOption("-x".into())));
        assert_eq!(order(OpenInDvm, &["-"]), Err(UsageError::UnknownOption("-".into())));
        assert_eq!(order(OpenInVm, &[]), Err(UsageError::NoTarget));
        assert_eq!(order(OpenInVm, &["", "a"]), Err(UsageError::NoTarget));
        assert_eq!(order(OpenInVm, &["work"]), Err(UsageError::NoSubject));
        assert_eq!(order(OpenInDvm, &["--"]), Err(UsageError::NoSubject));
        assert_eq!(order(OpenInDvm, &["a", ""]), Err(UsageError::EmptySubject));
        assert!(matches!(order(OpenInVm, &[&"x".repeat(64), "a"]), Err(UsageError::LongTarget(_))));
    }

    #[test]
    fn s4_which_orders_ask_for_a_disposable() {
        for (target, wants) in [
            ("@dispvm", true),
            ("$dispvm:a", true),
            ("@dispvm:a", true),
            ("@default", false),
            ("@dispvmx", false),
        ] {
            let Ok(Request::Open(order)) = order(Program::OpenInVm, &[target, "a"]) else {
                panic!("{target}")
            };
            assert_eq!(order.wants_disposable(), wants, "{target}");
        }
    }

    proptest! {
        #[test]
        fn after_two_dashes_every_word_is_a_name(words in prop::collection::vec("[-a-z@$:/ ]{1,12}", 1..5)) {
            let mut args = vec!["--"];
            args.extend(words.iter().map(String::as_str));
            let subjects: Vec<&str> = words.iter().map(String::as_str).collect();
            prop_assert_eq!(order(Program::OpenInDvm, &args), open("@dispvm", false, &subjects));
        }
    }
}
