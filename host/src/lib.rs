//! A dom0 small enough for one process tree: the Admin API, policy, a qrexec daemon per qube, and qubes as process
//! trees of this machine, all under one state directory (design, section 6).
#![forbid(unsafe_code)]

pub mod dispid;
pub mod store;
