use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

/// Why a qube could not be set up, as the supervisor and the first process tell it to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The machine does not allow what isolation or pausing needs; a weaker form may work.
    Refused(String),
    /// The qube cannot be set up as described.
    Broken(String),
    /// The number is in use.
    Exists,
}

impl Failure {
    pub(super) fn refused(step: &str, object: impl AsRef<OsStr>, cause: impl fmt::Display) -> Self {
        Self::Refused(sentence(step, object.as_ref(), &cause))
    }

    pub(super) fn broken(step: &str, object: impl AsRef<OsStr>, cause: impl fmt::Display) -> Self {
        Self::Broken(sentence(step, object.as_ref(), &cause))
    }
}

fn sentence(step: &str, object: &OsStr, cause: &dyn fmt::Display) -> String {
    format!("{step} {}: {cause}", Path::new(object).display())
}
