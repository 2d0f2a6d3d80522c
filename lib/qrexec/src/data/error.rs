//! What can go wrong on a data channel.

use crate::wire::WireError;
use std::fmt;
use std::io;

/// Why a call's data channel could not be brought to its regular end.
#[derive(Debug)]
pub enum DataError {
    /// The peer did what the protocol does not allow.
    Protocol(WireError),
    /// The peer closed the vchan too early.
    Lost {
        /// What was being done, in words.
        step: &'static str,
    },
    /// The peer did not answer in time.
    Timeout {
        /// What was being waited for, in words.
        step: &'static str,
    },
    /// The operating system refused something that the relay cannot do without.
    System {
        /// What was being done, in words.
        step: &'static str,
        /// Its answer.
        source: io::Error,
    },
}

impl DataError {
    pub(super) fn system(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { step, source }
    }
}

impl From<WireError> for DataError {
    fn from(error: WireError) -> Self {
        Self::Protocol(error)
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => write!(f, "data vchan: {error}"),
            Self::Lost { step } => write!(f, "data vchan: {step}: the peer closed it"),
            Self::Timeout { step } => write!(f, "data vchan: {step}: no answer in time"),
            Self::System { step, source } => write!(f, "data vchan: {step}: {source}"),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Protocol(error) => Some(error),
            Self::System { source, .. } => Some(source),
            Self::Lost { .. } | Self::Timeout { .. } => None,
        }
    }
}
