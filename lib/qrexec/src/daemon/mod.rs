//! qrexec-daemon: the program in dom0, one for each running qube, that speaks with the qube's agent, asks the policy
//! about the qube's calls and carries them out (spec/qrexec-wire.md, sections 2 to 6 and 9).
//!
//! | file | what it is |
//! |---|---|
//! | [`machine`] | the rules; pure |
//! | [`trigger`] | the agent's wish for a call, cleaned; pure |
//! | [`ports`], [`requests`] | what is in use, what is under way; pure |
//! | [`faults`] | what ends a connection |

pub mod faults;
mod inbox;
pub mod machine;
pub mod ports;
pub mod requests;
pub mod trigger;

/// A client's connection; numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A request of the qube; numbers are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);
