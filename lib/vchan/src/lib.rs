//! vchan: a two-way byte stream between a server and one client in two domains, without message framing.
//!
//! | module | what it is |
//! |---|---|
//! | [`socket`] | transport over Unix sockets, wire-compatible with libvchan-socket |
//!
//! Contract and transports: spec/vchan.md, sections 1 and 3.
#![forbid(unsafe_code)]

pub mod socket;

pub use socket::{Config, Server, Vchan};
