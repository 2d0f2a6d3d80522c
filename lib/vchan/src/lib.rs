//! vchan: a two-way byte stream between a server and one client in two domains, without message framing.
//!
//! | module | what it is |
//! |---|---|
//! | [`socket`] | transport over Unix sockets, wire-compatible with libvchan-socket |
//! | `xen` | transport of real Xen by libxenvchan, with the feature `xen` |
//!
//! Which one is used, [`Config::dir`] says. Contract and transports: spec/vchan.md. `unsafe` is in `xen::channel` alone.

pub mod socket;
#[cfg(any(feature = "xen", test))]
mod xen;

pub use socket::{Config, Server, Vchan};
