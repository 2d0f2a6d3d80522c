//! Why a call could not be made.

use crate::data::DataError;
use crate::wire::WireError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a daemon could not be asked or its call not be run. `target` is the qube as it was asked for.
#[derive(Debug)]
pub enum ClientError {
    /// The target is no name that a socket could have.
    BadTarget {
        /// The target, sanitised.
        target: String,
    },
    /// The command is longer than a daemon takes, or has a NUL byte.
    BadCommand {
        /// The target.
        target: String,
        /// Its length, in bytes.
        len: usize,
    },
    /// No daemon serves this qube: it does not run, or has no agent.
    NotRunning {
        /// The target.
        target: String,
    },
    /// The daemon closed the connection instead of answering: it refused the request or has lost its agent.
    Closed {
        /// The target.
        target: String,
    },
    /// The daemon says that the call has ended, before the agent came to the data vchan.
    Ended {
        /// The target.
        target: String,
    },
    /// Something did not come in time.
    Timeout {
        /// The target.
        target: String,
        /// What was being waited for, in words.
        step: &'static str,
    },
    /// The daemon said what the protocol does not allow.
    Protocol {
        /// The target.
        target: String,
        /// What was wrong.
        source: WireError,
    },
    /// The daemon's answer names an impossible domain or port, or is of another type than the question.
    BadAnswer {
        /// The target.
        target: String,
        /// The domain id that it named.
        domain: u32,
        /// The port that it named.
        port: u32,
    },
    /// The operating system refused something.
    System {
        /// What was being done, in words.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The call was running and its data channel failed.
    Data(DataError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadTarget { target } => write!(f, "asking for a call: \"{target}\" is no name of a qube"),
            Self::BadCommand { target, len } => {
                write!(
                    f,
                    "asking {target} for a call: a command of {len} bytes, or one with a NUL, cannot be sent"
                )
            }
            Self::NotRunning { target } => {
                write!(f, "asking {target} for a call: no qrexec daemon serves it; is it running?")
            }
            Self::Closed { target } => {
                write!(f, "asking {target} for a call: its daemon closed the connection")
            }
            Self::Ended { target } => {
                write!(f, "waiting for the agent of {target}: its daemon says that the call has ended")
            }
            Self::Timeout { target, step } => write!(f, "{step} of {target}: no answer in time"),
            Self::Protocol { target, source } => {
                write!(f, "asking {target} for a call: its daemon: {source}")
            }
            Self::BadAnswer { target, domain, port } => write!(
                f,
                "asking {target} for a call: its daemon answered with domain {domain}, port {port}, which cannot be"
            ),
            Self::System { step, path, source } => write!(f, "{step} {}: {source}", path.display()),
            Self::Data(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Protocol { source, .. } => Some(source),
            Self::System { source, .. } => Some(source),
            Self::Data(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DataError> for ClientError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}
