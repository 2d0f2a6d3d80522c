//! The heart: which template a call means, the queue of preloaded disposables, and the life of one call.
//!
//! | module | what it is | pure |
//! |---|---|---|
//! | [`call`] | one call from claim to settle: **read this first** | |
//! | [`request`] | who asks for what: the QREXEC_* variables, parsed once | yes |
//! | [`resolve`] | target and caller to template | yes |
//! | [`entry`] | one disposable in the queue, as text and back | yes |
//! | [`queue`] | the queue on disk: places, renames, one lock | |
//! | [`wake`] | claim, verify, wake: a paused disposable becomes a running one | |
//! | [`cold`] | a fresh disposable through the Admin API | |
//! | [`source`] | limits per calling qube | |
//! | [`creator`] | the tags that say who made a disposable | |
//! | [`keeper`] | what keeps the queue full, fresh and clean: limits and plan | yes |
//! | [`config`] | `/etc/qubes/dispvm.toml` | |
//! | [`error`] | what went wrong, for people and for exit codes | yes |
#![forbid(unsafe_code)]

pub mod call;
pub mod cold;
pub mod config;
pub mod creator;
pub mod entry;
pub mod error;
pub mod keeper;
pub mod queue;
pub mod request;
pub mod resolve;
pub mod source;
pub mod wake;
