//! What dom0 tells the lab over its second serial port: a line each.

use names::printable;
use std::fmt;

/// One line of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// Dom0 is up; so many tests follow.
    Tests(usize),
    /// A test begins.
    Begin(String),
    /// A word of the test that runs.
    Log(String),
    /// It ended, after so many milliseconds of emulated time.
    End { passed: bool, ms: u64 },
    /// There was no time left for this one.
    Late(String),
    /// All tests were run.
    Done,
}

impl Line {
    /// What was written by [`fmt::Display`]; `None` for anything else, such as a kernel's message.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "@tests" => Self::Tests(rest.parse().ok()?),
            "@begin" => Self::Begin(rest.to_owned()),
            "@log" => Self::Log(rest.to_owned()),
            "@passed" => Self::End { passed: true, ms: rest.parse().ok()? },
            "@failed" => Self::End { passed: false, ms: rest.parse().ok()? },
            "@late" => Self::Late(rest.to_owned()),
            "@done" => Self::Done,
            _ => return None,
        })
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tests(number) => write!(f, "@tests {number}"),
            Self::Begin(name) => write!(f, "@begin {}", printable(name.as_bytes())),
            Self::Log(text) => write!(f, "@log {}", printable(text.as_bytes())),
            Self::End { passed: true, ms } => write!(f, "@passed {ms}"),
            Self::End { passed: false, ms } => write!(f, "@failed {ms}"),
            Self::Late(name) => write!(f, "@late {}", printable(name.as_bytes())),
            Self::Done => write!(f, "@done"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn what_is_written_is_read_back() {
        for line in [
            Line::Tests(31),
            Line::Begin("open::view_only".into()),
            Line::Log("two  words ".into()),
            Line::Log(String::new()),
            Line::End { passed: true, ms: 0 },
            Line::End { passed: false, ms: 12 },
            Line::Late("kill::a".into()),
            Line::Done,
        ] {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
    }

    #[test]
    fn other_lines_are_none_of_ours() {
        for line in ["", "[    1.0] xen: hello", "@tests", "@tests -1", "@passed x", "@nosuch 1"] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_test_cannot_forge_a_line() {
        let line = Line::Log("x\n@done".into()).to_string();
        assert_eq!(line, "@log x_@done");
    }
}
