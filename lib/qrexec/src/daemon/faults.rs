//! What ends a connection: the agent's breaches end this daemon, a client's breach ends that client's connection.

use super::trigger::Unfit;
use crate::wire::WireError;
use std::fmt;

/// A breach of protocol by the qube's agent. The daemon of that qube ends with exit code 1 (spec/qrexec-wire.md 2.1, 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentFault {
    /// A message that may not come, or not with this length, or a version too old.
    Wire(WireError),
    /// The control vchan closed before HELLO was complete.
    LostBeforeHello,
    /// The end of a connection at a port that is no data port.
    Port(u32),
}

impl From<WireError> for AgentFault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl fmt::Display for AgentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => error.fmt(f),
            Self::LostBeforeHello => f.write_str("it closed the control connection before its HELLO"),
            Self::Port(port) => {
                write!(f, "it reported the end of a connection at port {port}, not a data port")
            }
        }
    }
}

/// A breach of protocol by a client in dom0, or a wish that cannot be met. Its connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFault {
    /// A message that may not come, or not with this length, or a version too old.
    Wire(WireError),
    /// A command whose text has no NUL at its end.
    Termination,
    /// A command with a body that the agent's ring cannot hold: sending it would block for ever.
    Ring(usize),
    /// All data ports are in use.
    NoPort,
    /// A port that is no data port.
    Port(u32),
    /// A SERVICE_CONNECT for a request that nobody made, or that was answered already.
    NoRequest,
    /// Bytes after its command.
    Talkative,
}

impl From<WireError> for ClientFault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl fmt::Display for ClientFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => error.fmt(f),
            Self::Termination => f.write_str("its command does not end with NUL"),
            Self::Ring(len) => {
                write!(f, "its command of {len} bytes does not fit the agent's ring of 4096: make it shorter")
            }
            Self::NoPort => f.write_str("all data ports of this qube are in use: end other calls first"),
            Self::Port(port) => write!(f, "{port} is no data port"),
            Self::NoRequest => f.write_str("the request to be connected was not made or is answered already"),
            Self::Talkative => f.write_str("it sent more after its command"),
        }
    }
}

/// Why a request of the qube is refused before anyone was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The message is not well formed.
    Unfit(Unfit),
    /// Too many requests of this qube are under way.
    TooMany,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::TooMany => f.write_str("256 requests of this qube are under way already"),
        }
    }
}
