//! Messages to bytes and back. Pure: bytes in, values out, nothing is read or written here.
//!
//! A [`Decoder`] takes bytes in any portions and gives whole messages. It knows which [`Channel`] it serves, and compares
//! the type and length of each header with what may come there before it keeps a single byte of the body.
//!
//! Layouts: `qubes_qrexec_sys`; rules: spec/qrexec-wire.md, sections 1, 2, 4, 7 and 8.

mod channel;
mod decoder;
mod message;

pub use channel::Channel;
pub use decoder::Decoder;
pub use message::{Exec, Message, Trigger};
pub use qubes_qrexec_sys::{Header, Ident, exit_code, layout, limit, message_type};

/// The version that both sides then speak: the lower one of the peer's and ours (spec/qrexec-wire.md 2.1, 7.1).
///
/// # Errors
/// [`WireError::Version`] for a peer below version 2.
pub const fn agree(received: u32) -> Result<u32, WireError> {
    if received < limit::OLDEST_VERSION {
        Err(WireError::Version { received, oldest: limit::OLDEST_VERSION })
    } else if received < limit::PROTOCOL_VERSION {
        Ok(received)
    } else {
        Ok(limit::PROTOCOL_VERSION)
    }
}

/// As [`agree`], for the daemon's client socket, where 3 is the only version (spec/qrexec-wire.md 4).
///
/// # Errors
/// [`WireError::Version`] for a peer below version 3.
pub const fn agree_client(received: u32) -> Result<u32, WireError> {
    if received < limit::OLDEST_CLIENT_VERSION {
        Err(WireError::Version { received, oldest: limit::OLDEST_CLIENT_VERSION })
    } else {
        Ok(limit::CLIENT_PROTOCOL_VERSION)
    }
}

/// What a peer did that the protocol does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// A message type that may not come on this channel.
    Kind {
        /// The channel, in words.
        channel: &'static str,
        /// The type received.
        kind: u32,
    },
    /// A body longer or shorter than its type allows.
    Length {
        /// The message type.
        kind: u32,
        /// The length received, in bytes.
        len: u32,
        /// The shortest allowed.
        least: u32,
        /// The longest allowed.
        most: u32,
    },
    /// A version too old to talk to.
    Version {
        /// The version received.
        received: u32,
        /// The oldest that is spoken.
        oldest: u32,
    },
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind { channel, kind } => write!(f, "message type {kind:#x} may not come {channel}"),
            Self::Length { kind, len, least, most } => {
                write!(f, "message type {kind:#x} came with {len} bytes; {least} to {most} are allowed")
            }
            Self::Version { received, oldest } => {
                write!(f, "peer speaks protocol version {received}; the oldest we speak is {oldest}")
            }
        }
    }
}

impl std::error::Error for WireError {}
