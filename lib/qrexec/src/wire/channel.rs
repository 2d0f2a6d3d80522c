//! What may come where.

use super::{WireError, limit, message_type};
use qubes_qrexec_sys::{
    ExecParams, Header, Ident, PeerInfo, TriggerService2, TriggerService3, TriggerService4,
};

/// One direction of one connection, which decides the messages that may come and their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The first message of every connection except the agent's trigger socket: HELLO and nothing else.
    Hello,
    /// Control vchan, agent to daemon, after HELLO (spec/qrexec-wire.md 2.2).
    AgentToDaemon {
        /// The agreed version.
        version: u32,
    },
    /// Control vchan, daemon to agent, after HELLO (2.4).
    DaemonToAgent,
    /// Client socket, client to daemon, after HELLO (4).
    ClientToDaemon,
    /// Client socket, daemon to client, after HELLO: the answer with domain and port (4).
    DaemonToClient,
    /// The agent's trigger socket, program to agent; no HELLO here (8).
    Trigger,
    /// Data vchan after HELLO, either direction (7.2).
    Data {
        /// The agreed version.
        version: u32,
    },
}

impl Channel {
    /// Compares a header with what may come here.
    ///
    /// # Errors
    /// [`WireError::Kind`] and [`WireError::Length`].
    pub fn check(self, header: Header) -> Result<(), WireError> {
        let Header { kind, len } = header;
        let Some((least, most)) = self.lengths(kind) else {
            return Err(WireError::Kind { channel: self.words(), kind });
        };
        if len < least || len > most {
            return Err(WireError::Length { kind, len, least, most });
        }
        Ok(())
    }

    /// Shortest and longest body of a message type on this channel; `None` when it may not come here at all.
    #[must_use]
    pub const fn lengths(self, kind: u32) -> Option<(u32, u32)> {
        match (self, kind) {
            (Self::Hello, message_type::HELLO) => exactly(PeerInfo::SIZE),
            (Self::AgentToDaemon { version: 0..=2 }, message_type::TRIGGER_SERVICE) => {
                exactly(TriggerService2::SIZE)
            }
            (Self::AgentToDaemon { version: 3.. }, message_type::TRIGGER_SERVICE3) => {
                with_text(TriggerService3::SIZE, limit::TRIGGER3_BODY)
            }
            (Self::AgentToDaemon { version: 4.. }, message_type::TRIGGER_SERVICE4)
            | (Self::Trigger, message_type::TRIGGER_SERVICE4) => {
                with_text(TriggerService4::SIZE, limit::TRIGGER4_BODY)
            }
            (Self::AgentToDaemon { .. }, message_type::CONNECTION_TERMINATED) => exactly(ExecParams::SIZE),
            (Self::DaemonToAgent, _) if is_request(kind) => with_text(ExecParams::SIZE, limit::CONTROL_BODY),
            (Self::DaemonToAgent, message_type::SERVICE_REFUSED) => exactly(Ident::SIZE),
            (Self::ClientToDaemon, _) if is_request(kind) => with_text(ExecParams::SIZE, limit::CLIENT_BODY),
            (Self::DaemonToClient, _) if is_request(kind) => exactly(ExecParams::SIZE),
            (
                Self::Data { version },
                message_type::DATA_STDIN
                | message_type::DATA_STDOUT
                | message_type::DATA_STDERR
                | message_type::DATA_EXIT_CODE,
            ) => Some((0, limit::data_chunk(version))),
            _ => None,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Hello => "before HELLO",
            Self::AgentToDaemon { .. } => "from an agent that speaks this version",
            Self::DaemonToAgent => "from a daemon to its agent",
            Self::ClientToDaemon => "from a client to a daemon",
            Self::DaemonToClient => "from a daemon to its client",
            Self::Trigger => "on the agent's socket",
            Self::Data { .. } => "on a data vchan",
        }
    }
}

const fn is_request(kind: u32) -> bool {
    matches!(kind, message_type::EXEC_CMDLINE | message_type::JUST_EXEC | message_type::SERVICE_CONNECT)
}

#[expect(clippy::cast_possible_truncation, reason = "sizes of fixed layouts, far below 2^32")]
const fn exactly(size: usize) -> Option<(u32, u32)> {
    Some((size as u32, size as u32))
}

/// A text is at least its NUL.
#[expect(clippy::cast_possible_truncation, reason = "sizes of fixed layouts, far below 2^32")]
const fn with_text(front: usize, most: u32) -> Option<(u32, u32)> {
    Some((front as u32 + 1, most))
}
