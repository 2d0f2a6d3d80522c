//! Why an agent ended.

use crate::wire::WireError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why an agent ended before it was told to.
#[derive(Debug)]
pub enum AgentError {
    /// The operating system refused something that the main loop needs; which, and cause.
    System(&'static str, io::Error),
    /// The control vchan's server could not be made; its path and cause.
    Vchan(PathBuf, io::Error),
    /// The trigger socket could not be made; its path and cause.
    TriggerSocket(PathBuf, io::Error),
    /// The daemon did what the protocol does not allow.
    Protocol(WireError),
    /// The control vchan was closed: the daemon ended.
    DaemonGone,
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(step, cause) => write!(f, "{step} failed: {cause}"),
            Self::Vchan(path, cause) => write!(
                f,
                "making the control vchan at {} failed: {cause}; check VCHAN_SOCKET_DIR and VCHAN_DOMAIN",
                path.display()
            ),
            Self::TriggerSocket(path, cause) => write!(
                f,
                "listening at {} failed: {cause}; choose a directory that exists and is writable with --agent-socket",
                path.display()
            ),
            Self::Protocol(cause) => write!(f, "the daemon broke the protocol: {cause}"),
            Self::DaemonGone => write!(f, "the daemon closed the control vchan; all calls end"),
        }
    }
}

impl std::error::Error for AgentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(_, cause) | Self::Vchan(_, cause) | Self::TriggerSocket(_, cause) => Some(cause),
            Self::Protocol(cause) => Some(cause),
            Self::DaemonGone => None,
        }
    }
}
