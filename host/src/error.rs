//! Why a host does not start or stop as it should.

use crate::store::{FileError, Refusal};
use std::fmt;
use std::io;
use std::path::PathBuf;

/// What went wrong.
#[derive(Debug)]
pub enum HostError {
    /// A host runs in this state directory already; the text names its process.
    Busy(String),
    /// A file or directory; what was being done with it.
    File {
        /// For example "write".
        step: &'static str,
        /// Which one.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// The file of the qubes cannot be used.
    Qubes {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: FileError,
    },
    /// What an earlier host left could not be cleared away.
    Recovery(String),
    /// A program of the host could not be started.
    Program {
        /// Which one.
        name: &'static str,
        /// The system's reason.
        cause: io::Error,
    },
    /// Qubes shall be domains of this machine's Xen, and something that they need is missing.
    Xen(String),
    /// The host refuses, as its Admin API would.
    Refused(Refusal),
    /// Something was still there at the end.
    Left(Vec<String>),
}

impl HostError {
    pub(crate) fn file(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| match cause.kind() {
            io::ErrorKind::ResourceBusy => Self::Busy(cause.to_string()),
            _ => Self::File { step, path, cause },
        }
    }
}

impl From<Refusal> for HostError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(text) => write!(f, "{text}; name another directory or stop that host"),
            Self::File { step, path, cause } => write!(f, "cannot {step} {}: {cause}", path.display()),
            Self::Qubes { path, cause } => write!(f, "{}: {cause}", path.display()),
            Self::Recovery(text) => write!(f, "cannot clear away what an earlier host left: {text}"),
            Self::Program { name, cause } => write!(f, "cannot start {name}: {cause}"),
            Self::Xen(missing) => write!(f, "cannot make qubes on Xen: {missing}"),
            Self::Refused(refusal) => f.write_str(&refusal.message),
            Self::Left(what) => write!(f, "still there: {}", what.join(", ")),
        }
    }
}

impl std::error::Error for HostError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { cause, .. } | Self::Program { cause, .. } => Some(cause),
            Self::Qubes { cause, .. } => Some(cause),
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}
