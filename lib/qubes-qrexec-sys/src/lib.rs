//! The bytes of qrexec: layouts, constants and limits of every message, without any behaviour.
//!
//! Source of every fact: spec/qrexec-wire.md, sections 1 and 2 (QubesOS/qubes-core-qrexec, version 4.4.2).
//! Integers have the byte order of the machine; nothing is swapped and nothing is padded.
//!
//! | module | what it is |
//! |---|---|
//! | [`message_type`] | the first word of each message |
//! | [`layout`] | headers and bodies: `to_bytes`, `from_bytes` |
//! | [`limit`] | versions, lengths, ports, slots |
//! | [`exit_code`] | exit codes with a meaning of their own |
//! | [`path`] | where sockets and programs are on Qubes OS |
//!
//! The crate allocates nothing, sees no descriptor, and depends on nothing.
#![no_std]
#![forbid(unsafe_code)]

pub mod exit_code;
pub mod layout;
pub mod limit;
pub mod message_type;
pub mod path;

pub use layout::{
    ExecParams, ExitCode, Header, Ident, PeerInfo, TriggerService2, TriggerService3, TriggerService4,
};
