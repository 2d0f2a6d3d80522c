use names::DomId;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why the hypervisor did not do what it was asked.
#[derive(Debug)]
pub enum HypervisorError {
    /// No domain has this number.
    NoSuchDomain(DomId),
    /// A domain with this number exists already.
    AlreadyExists(DomId),
    /// The domain to pause is paused.
    AlreadyPaused(DomId),
    /// The domain to wake is not paused.
    NotPaused(DomId),
    /// The domain has ended; it can only be destroyed.
    Dying(DomId),
    /// This machine does not offer the isolation or the way of pausing that was asked for.
    Unavailable(String),
    /// The description of the qube is wrong.
    BadSpec(String),
    /// The qube could not be set up; the text names step, object and cause.
    Setup(DomId, String),
    /// A file of the registry is not what we wrote.
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// The domain did not reach the wanted state in time.
    Timeout {
        /// Which domain.
        domid: DomId,
        /// What was waited for.
        step: &'static str,
    },
    /// The operating system refused a step.
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file or process.
        object: String,
        /// The system's reason.
        source: io::Error,
    },
}

impl HypervisorError {
    pub(crate) fn file(step: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { step, object: path.display().to_string(), source: source.into() }
    }
}

impl fmt::Display for HypervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchDomain(domid) => write!(f, "domain {domid} does not exist"),
            Self::AlreadyExists(domid) => {
                write!(f, "domain {domid} exists already: destroy it first, or choose another number")
            }
            Self::AlreadyPaused(domid) => write!(f, "cannot pause domain {domid}: it is paused"),
            Self::NotPaused(domid) => write!(f, "cannot unpause domain {domid}: it is not paused"),
            Self::Dying(domid) => write!(f, "domain {domid} has ended"),
            Self::Unavailable(text) => write!(f, "this machine does not offer it: {text}"),
            Self::BadSpec(text) => write!(f, "the description of the qube is wrong: {text}"),
            Self::Setup(domid, text) => write!(f, "cannot set up domain {domid}: {text}"),
            Self::BadRecord { path, rule } => {
                write!(f, "the record {} is damaged: {rule}; remove it", path.display())
            }
            Self::Timeout { domid, step } => write!(f, "domain {domid}: {step}: not done in time"),
            Self::Io { step, object, source } => write!(f, "{step} {object}: {source}"),
        }
    }
}

impl std::error::Error for HypervisorError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
