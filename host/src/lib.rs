//! A dom0 small enough for one process tree: the Admin API, policy, a qrexec daemon per qube, and qubes as process
//! trees of this machine, all under one state directory (design, section 6).
//!
//! | where | what |
//! |---|---|
//! | [`Host`] | from start to stop; [`HostConfig`], [`HostError`], [`Layout`] |
//! | `store` | which qubes there are and what is known of them; pure |
//! | `life` | starts and ends of qubes |
//! | `admin_server`, `policy_server`, `server` | the sockets |
//! | [`Asking`] | who answers the policy's questions to the user |
//! | `keeper`, `process`, `lifeline` | long-lived children |
//! | `xen` | qubes as domains of a real Xen ([`XenSettings`]) |
//! | `recovery`, `lock` | what an earlier host left |
//! | `programs` | one executable, many names |
//! | `cli`, `bench` | the command line |
#![forbid(unsafe_code)]

mod admin_server;
mod asking;
mod bench;
pub mod cli;
mod config;
mod copy;
pub mod dispid;
mod dom0;
mod error;
mod events;
mod host;
mod keeper;
mod layout;
mod life;
pub mod lifeline;
mod lock;
mod policy_eval;
mod policy_server;
mod process;
mod programs;
mod recovery;
mod server;
mod setup;
pub mod store;
mod xen;

pub use asking::Asking;
pub use config::HostConfig;
pub use error::HostError;
pub use host::Host;
pub use layout::Layout;
pub use programs::main;
pub use xen::XenSettings;

/// The template of disposables in a new state directory.
pub const DEFAULT_TEMPLATE: &str = "default-dvm";
/// The template that stands for this machine's own system.
pub const SYSTEM_TEMPLATE: &str = "system";
