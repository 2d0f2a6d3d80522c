//! Command line options in the manner of getopt_long(3), for the programs of this crate.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An option that a program knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The letter of its short form; 0 when it has none.
    pub(crate) short: u8,
    /// Its long form, without the dashes; also its name here.
    pub(crate) long: &'static str,
    /// Whether a value belongs to it.
    pub(crate) valued: bool,
}

/// Options in the order given, each with its value (empty for options without one), and what follows them.
pub(crate) type Scanned = (Vec<(&'static str, OsString)>, Vec<OsString>);

/// Splits arguments into options and the rest. The rest begins at the first argument that is no option, or after `--`.
/// Long options may be shortened as long as they stay unique; short ones may be joined.
pub(crate) fn scan(args: &[OsString], known: &[Known]) -> Result<Scanned, BadOption> {
    let mut options = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.as_slice().first().map(|arg| arg.as_bytes()) {
        if arg == b"--" {
            args.next();
            break;
        }
        if let Some(long) = arg.strip_prefix(b"--") {
            args.next();
            let equals = long.iter().position(|&byte| byte == b'=');
            let name = &long[..equals.unwrap_or(long.len())];
            let option = by_long(name, known).ok_or_else(|| BadOption::unknown(arg))?;
            let value = match (option.valued, equals) {
                (true, Some(equals)) => owned(&long[equals + 1..]),
                (true, None) => args.next().ok_or(BadOption::NoValue(option.long))?.clone(),
                (false, None) => OsString::new(),
                (false, Some(_)) => return Err(BadOption::Value(option.long)),
            };
            options.push((option.long, value));
        } else if arg.len() > 1 && arg[0] == b'-' {
            args.next();
            let mut letters = &arg[1..];
            while let Some((letter, rest)) = letters.split_first() {
                let option = known.iter().find(|option| option.short == *letter && option.short != 0);
                let option = option.ok_or_else(|| BadOption::unknown(&[b'-', *letter]))?;
                letters = rest;
                let mut value = OsString::new();
                if option.valued {
                    value = match rest {
                        [] => args.next().ok_or(BadOption::NoValue(option.long))?.clone(),
                        joined => owned(joined),
                    };
                    letters = &[];
                }
                options.push((option.long, value));
            }
        } else {
            break;
        }
    }
    Ok((options, args.cloned().collect()))
}

fn by_long<'a>(name: &[u8], known: &'a [Known]) -> Option<&'a Known> {
    if let Some(exact) = known.iter().find(|option| option.long.as_bytes() == name) {
        return Some(exact);
    }
    let mut candidates = known.iter().filter(|option| option.long.as_bytes().starts_with(name));
    let candidate = candidates.next()?;
    candidates.next().is_none().then_some(candidate)
}

fn owned(bytes: &[u8]) -> OsString {
    OsStr::from_bytes(bytes).to_owned()
}

/// Why arguments cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadOption {
    /// No such option, or a shortened one that could be several.
    Unknown(OsString),
    /// The option needs a value.
    NoValue(&'static str),
    /// The option takes no value.
    Value(&'static str),
}

impl BadOption {
    fn unknown(arg: &[u8]) -> Self {
        Self::Unknown(OsString::from_vec(arg.to_vec()))
    }
}

impl fmt::Display for BadOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(arg) => write!(f, "there is no option {}", names::printable(arg.as_bytes())),
            Self::NoValue(option) => write!(f, "option --{option} needs a value"),
            Self::Value(option) => write!(f, "option --{option} takes no value"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Known] = &[
        Known { short: b'a', long: "agent-socket", valued: true },
        Known { short: b't', long: "filter-out", valued: false },
        Known { short: b'T', long: "filter-err", valued: false },
        Known { short: 0, long: "size", valued: true },
    ];

    fn scanned(args: &[&str]) -> Option<(Vec<String>, Vec<String>)> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        let (options, rest) = scan(&args, KNOWN).ok()?;
        let options =
            options.iter().map(|(name, value)| format!("{name}={}", value.to_string_lossy())).collect();
        Some((options, rest.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()))
    }

    #[test]
    fn all_forms() {
        for args in [
            &["-a", "x", "-tT", "--size", "3", "y", "-t"][..],
            &["-ax", "-t", "-T", "--size=3", "y", "-t"],
            &["--agent-socket=x", "-tT", "--siz=3", "--", "y", "-t"],
            &["--ag", "x", "--filter-out", "--filter-err", "--size", "3", "--", "y", "-t"],
        ] {
            let (options, rest) = scanned(args).unwrap();
            assert_eq!(options, ["agent-socket=x", "filter-out=", "filter-err=", "size=3"], "{args:?}");
            assert_eq!(rest, ["y", "-t"]);
        }
        assert_eq!(scanned(&["-", "-t"]).unwrap().1, ["-", "-t"]);
        assert_eq!(scanned(&["--size="]).unwrap().0, ["size="]);
        assert_eq!(scanned(&["--size", "--", "x"]).unwrap(), (vec!["size=--".into()], vec!["x".into()]));
    }

    #[test]
    fn broken_forms() {
        for args in [
            &["-x"][..],
            &["-a"],
            &["--agent-socket"],
            &["--filter"],
            &["--filter-out=1"],
            &["-tx"],
            &["--n"],
        ] {
            assert_eq!(scanned(args), None, "{args:?}");
        }
    }
}
