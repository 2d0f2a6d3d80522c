//! Why a call could not be made.

use crate::data::DataError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a call could not be made or brought to an end.
#[derive(Debug)]
pub enum ClientVmError {
    /// The agent cannot be reached at this path.
    Agent(PathBuf, io::Error),
    /// Talking to the agent failed.
    Request(io::Error),
    /// The agent's answer was cut short; bytes that came.
    ShortAnswer(usize),
    /// The agent's answer names a domain or port that cannot be.
    BadAnswer {
        /// Domain id as received.
        domain: u32,
        /// Port as received.
        port: u32,
    },
    /// The call was refused.
    Refused,
    /// The data vchan could not be made; its path and cause.
    Vchan(PathBuf, io::Error),
    /// The agent ended before the service's side had connected.
    AgentGone,
    /// The service's side did not connect in time.
    NobodyCame,
    /// The own standard streams, or those for the local program, could not be prepared.
    Streams(io::Error),
    /// The data channel failed.
    Data(DataError),
}

impl ClientVmError {
    /// Our exit code for it (spec/qrexec-wire.md, section 10).
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused => 126,
            _ => 1,
        }
    }
}

impl fmt::Display for ClientVmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(path, cause) => write!(
                f,
                "connecting to the agent at {} failed: {cause}; is qrexec-agent running in this qube?",
                path.display()
            ),
            Self::Request(cause) => write!(f, "sending the request to the agent failed: {cause}"),
            Self::ShortAnswer(len) => {
                write!(f, "the agent's answer has {len} bytes instead of 8: it ended meanwhile")
            }
            Self::BadAnswer { domain, port } => {
                write!(f, "the agent names domain {domain} and port {port} for the call: there are no such")
            }
            Self::Refused => write!(f, "request refused"),
            Self::Vchan(path, cause) => write!(
                f,
                "making the data vchan at {} failed: {cause}; check VCHAN_SOCKET_DIR and VCHAN_DOMAIN",
                path.display()
            ),
            Self::AgentGone => write!(f, "the agent ended before the service had connected"),
            Self::NobodyCame => write!(f, "the service did not connect within 120 s"),
            Self::Streams(cause) => write!(f, "preparing the standard streams failed: {cause}"),
            Self::Data(cause) => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for ClientVmError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Agent(_, cause) | Self::Request(cause) | Self::Vchan(_, cause) | Self::Streams(cause) => {
                Some(cause)
            }
            Self::Data(cause) => Some(cause),
            _ => None,
        }
    }
}
