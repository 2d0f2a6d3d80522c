//! Versions, lengths, ports and slots (spec/qrexec-wire.md 1.3, 2.2, 2.4, 4).

use crate::layout::{ExecParams, TriggerService3, TriggerService4};

/// The protocol version that daemon, agent and data channel speak.
pub const PROTOCOL_VERSION: u32 = 4;
/// The oldest version accepted on control and data vchan.
pub const OLDEST_VERSION: u32 = 2;
/// The version spoken on the daemon's client socket.
pub const CLIENT_PROTOCOL_VERSION: u32 = 3;
/// The oldest version accepted on the daemon's client socket, by both sides.
pub const OLDEST_CLIENT_VERSION: u32 = 3;

/// Longest body of a data message when version 2 was agreed, in bytes.
pub const DATA_CHUNK_V2: u32 = 4096;
/// Longest body of a data message when version 3 or 4 was agreed, in bytes.
pub const DATA_CHUNK: u32 = 65536;
/// Longest service name with argument and its NUL in a trigger of version 3 or 4, in bytes.
pub const SERVICE_NAME: u32 = 65000;
/// Longest body from a client to a daemon, in bytes.
pub const CLIENT_BODY: u32 = 65535;
/// Longest body from a daemon to an agent that the agent must accept, in bytes. Upstream allows 2^31 - 1; what a daemon
/// forwards is a client's body whose `DEFAULT` was replaced by a user name, so nothing longer can be meant.
pub const CONTROL_BODY: u32 = CLIENT_BODY + 4096;
/// Longest body of TRIGGER_SERVICE3, in bytes.
#[expect(clippy::cast_possible_truncation, reason = "a constant far below 2^32")]
pub const TRIGGER3_BODY: u32 = TriggerService3::SIZE as u32 + SERVICE_NAME;
/// Longest body of TRIGGER_SERVICE4, in bytes.
#[expect(clippy::cast_possible_truncation, reason = "a constant far below 2^32")]
pub const TRIGGER4_BODY: u32 = TriggerService4::SIZE as u32 + SERVICE_NAME;
/// Shortest body that carries a text after `exec_params`: the text is at least its NUL.
#[expect(clippy::cast_possible_truncation, reason = "a constant far below 2^32")]
pub const SHORTEST_EXEC_BODY: u32 = ExecParams::SIZE as u32 + 1;

/// Port of the control vchan; the agent is its server.
pub const CONTROL_PORT: u32 = 512;
/// First port for data vchans.
pub const FIRST_DATA_PORT: u32 = 513;
/// Number of ports for data vchans.
pub const DATA_PORTS: u32 = 256;
/// Last port for data vchans.
pub const LAST_DATA_PORT: u32 = FIRST_DATA_PORT + DATA_PORTS - 1;
/// Slots for clients, for pending policy decisions, for agent connections, for calls waiting for a session; 256 each.
pub const SLOTS: usize = 256;
/// Ring size of the control vchan in each direction, in bytes.
pub const CONTROL_RING: usize = 4096;
/// Ring size of a data vchan in each direction, in bytes.
pub const DATA_RING: usize = 65536;

/// Whether a number is one of the ports for data vchans.
#[must_use]
pub const fn is_data_port(port: u32) -> bool {
    port >= FIRST_DATA_PORT && port <= LAST_DATA_PORT
}

/// Longest body of a data message for an agreed version, in bytes.
#[must_use]
pub const fn data_chunk(version: u32) -> u32 {
    if version <= 2 { DATA_CHUNK_V2 } else { DATA_CHUNK }
}
