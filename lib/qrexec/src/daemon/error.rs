//! Why the daemon ends, and why a call fails.

use super::faults::AgentFault;
use super::question::QuestionError;
use crate::client::ClientError;
use crate::data::DataError;
use admin::AdminError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why the daemon ends.
#[derive(Debug)]
pub enum End {
    /// A signal asked for it.
    Terminated,
    /// The agent did not come in time.
    NoAgent,
    /// The agent broke the protocol.
    Agent(AgentFault),
    /// The sockets could not be made in this directory.
    Door(PathBuf, io::Error),
    /// Waiting for events failed.
    Poll(io::Error),
}

impl End {
    /// Exit code (spec/qrexec-wire.md 2.1, 2.5 and section 3).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Terminated => 0,
            Self::NoAgent => 3,
            Self::Agent(_) | Self::Door(..) | Self::Poll(_) => 1,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminated => f.write_str("asked to end"),
            Self::NoAgent => f.write_str("the qube's agent did not come in time"),
            Self::Agent(fault) => write!(f, "the qube's agent broke the protocol: {fault}"),
            Self::Door(dir, cause) => write!(f, "making the sockets in {}: {cause}", dir.display()),
            Self::Poll(cause) => write!(f, "waiting for events: {cause}"),
        }
    }
}

/// Why a call of the qube did not run, or not to its end. The qube learns only that it was refused, or sees its data
/// connection close.
#[derive(Debug)]
pub enum CallError {
    /// The policy says no.
    Denied,
    /// The policy did not say anything usable.
    Policy(QuestionError),
    /// The agent that asked is gone, or all data ports are in use.
    NotConnected,
    /// The target does not run and may not be started.
    NotRunning(String),
    /// A target that no daemon could have.
    BadTarget(String),
    /// qubesd did not do its part; what was to be done.
    Qubesd(&'static str, AdminError),
    /// The daemon of the target refused, or does not exist.
    Target(ClientError),
    /// The caller's side of the data connection did not appear.
    Vchan(io::Error),
    /// The data connection broke.
    Data(DataError),
}

impl CallError {
    /// Whether it is the policy's will rather than trouble.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Denied)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("denied by policy"),
            Self::Policy(error) => error.fmt(f),
            Self::NotConnected => f.write_str(
                "connecting the call: its caller is gone, or all 256 data ports of the qube are in use",
            ),
            Self::NotRunning(target) => {
                write!(f, "{target} does not run and the policy has autostart=no: start it first")
            }
            Self::BadTarget(target) => write!(f, "the policy named \"{target}\", which cannot be called"),
            Self::Qubesd(step, error) => write!(f, "{step}: {error}"),
            Self::Target(error) => error.fmt(f),
            Self::Vchan(cause) => write!(f, "connecting to the caller's data vchan: {cause}"),
            Self::Data(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Policy(error) => Some(error),
            Self::Qubesd(_, error) => Some(error),
            Self::Target(error) => Some(error),
            Self::Vchan(error) => Some(error),
            Self::Data(error) => Some(error),
            Self::Denied | Self::NotConnected | Self::NotRunning(_) | Self::BadTarget(_) => None,
        }
    }
}
