//! A client of xenstore, the small database by which the domains of a Xen machine find each other.
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | messages as bytes; pure |
//! | [`Xenstore`] | one connection: requests one after the other, watches, every wait bounded |
//!
//! The protocol is that of Xen's public header `io/xs_wire.h`; it is the same over the daemon's socket in dom0 and over
//! the kernel's device in any domain.
#![forbid(unsafe_code)]

mod connection;
pub mod wire;

pub use connection::{Event, Xenstore};
