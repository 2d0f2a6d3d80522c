//! The text between qrexec daemon and policy daemon (spec/qrexec-wire.md, section 9).

mod reply;
mod request;

pub use reply::{Grant, REPLY_LIMIT, Reply, ReplyError};
pub use request::{REQUEST_LIMIT, Request, RequestError};
