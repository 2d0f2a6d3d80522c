use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Why the lab could not do what it was asked.
#[derive(Debug)]
pub(crate) enum LabError {
    /// The command line makes no sense.
    Usage(String),
    /// This machine lacks something that the lab does not bring along: nothing was tested.
    Missing {
        what: String,
        remedy: &'static str,
    },
    /// A program that the lab runs failed.
    Program {
        step: &'static str,
        line: String,
        said: String,
    },
    /// A file is not what it should be.
    Content {
        object: String,
        rule: &'static str,
    },
    /// No sign of life from dom0.
    Silent {
        after: Duration,
        last: String,
    },
    /// Another lab runs, and does not end.
    Busy {
        pid: u32,
    },
    /// QEMU ended before dom0 said that it was done.
    Ended {
        last: String,
    },
    Io {
        step: &'static str,
        object: String,
        source: io::Error,
    },
}

impl LabError {
    /// For `map_err` on what is done to a file.
    pub(crate) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let object = path.display().to_string();
        move |source| Self::Io { step, object, source }
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => write!(f, "{text}"),
            Self::Missing { what, remedy } => write!(f, "{what}; {remedy}"),
            Self::Program { step, line, said } => write!(f, "{step}: `{line}` failed: {said}"),
            Self::Content { object, rule } => write!(f, "{object}: {rule}"),
            Self::Silent { after, last } => {
                write!(f, "dom0 said nothing for {} s; its last words: {last}", after.as_secs())
            }
            Self::Busy { pid } => {
                write!(f, "another lab's QEMU (process {pid}) does not end: end it, or wait for it")
            }
            Self::Ended { last } => write!(f, "the machine ended too early; dom0's last words: {last}"),
            Self::Io { step, object, source } => write!(f, "{step} {object}: {source}"),
        }
    }
}
