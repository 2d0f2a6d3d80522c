//! Message types: the first word of a header (spec/qrexec-wire.md 1.1).

/// Data vchan, caller to service: bytes for the service's standard input; length 0 is its end.
pub const DATA_STDIN: u32 = 0x190;
/// Data vchan, service to caller: bytes of standard output; length 0 is its end.
pub const DATA_STDOUT: u32 = 0x191;
/// Data vchan, service to caller: bytes of standard error; length 0 is its end.
pub const DATA_STDERR: u32 = 0x192;
/// Data vchan, service to caller: the exit code, a signed 32-bit number; the last message.
pub const DATA_EXIT_CODE: u32 = 0x193;
/// Client to daemon and daemon to agent: run this command and join its streams to a data vchan. Body: `exec_params`.
pub const EXEC_CMDLINE: u32 = 0x200;
/// As [`EXEC_CMDLINE`], but the streams are not joined; only an exit code comes back.
pub const JUST_EXEC: u32 = 0x201;
/// Client to daemon and daemon to agent: a request was allowed, here is its data vchan. Body: `exec_params` whose text
/// is the request id.
pub const SERVICE_CONNECT: u32 = 0x202;
/// Daemon to agent: a request was refused. Body: the request id.
pub const SERVICE_REFUSED: u32 = 0x203;
/// Agent to daemon, protocol 2 only: please call a service. Body: trigger v2.
pub const TRIGGER_SERVICE: u32 = 0x210;
/// Agent to daemon: a data connection ended, its port is free. Body: `exec_params` without text.
pub const CONNECTION_TERMINATED: u32 = 0x211;
/// Agent to daemon, protocol 3 and 4: please call a service. Body: trigger v3.
pub const TRIGGER_SERVICE3: u32 = 0x212;
/// Agent to daemon, protocol 4, and qrexec-client-vm to agent: please call a service. Body: trigger v4.
pub const TRIGGER_SERVICE4: u32 = 0x213;
/// All channels: the version that the sender speaks. Body: `peer_info`.
pub const HELLO: u32 = 0x300;
