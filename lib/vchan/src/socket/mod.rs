//! The socket transport: the bytes of a vchan are the bytes of a Unix stream socket, with no handshake of its own
//! (spec/vchan.md, section 3).
//!
//! Ends differ from libvchan-socket in nothing that a peer can see: its rings and threads are private to it, the kernel's
//! socket buffers take their place here. What the kernel holds is delivered after a close, as libvchan promises.

mod arrival;
mod config;
mod server;
mod stream;

pub use config::Config;
pub use server::Server;
pub use stream::Vchan;
