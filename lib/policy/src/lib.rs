//! The qrexec policy: which qube may call which service in which qube.
//!
//! Four parts, in the order in which a call meets them:
//! [`protocol`] reads the question that a qrexec daemon asks, [`Policy`] holds the rules read from policy files,
//! [`SystemInfo`] says which qubes there are, and [`Policy::evaluate`] turns the three into a [`Decision`] that names
//! the rule behind it. Grammar and semantics: spec/policy.md; wire text: spec/qrexec-wire.md, section 9.
//!
//! The core is pure. Only [`Directories`] and [`PolicyCache`] touch the file system.
//! Whatever raises an exception in the reference implementation is a denial with its own reason here.
#![forbid(unsafe_code)]

mod ask;
mod cache;
mod call;
mod decision;
mod directories;
mod error;
mod explain;
mod grant;
mod lines;
mod load;
mod matching;
mod policy;
pub mod protocol;
mod reason;
mod rule;
mod shown;
mod source;
mod system;
mod system_json;
mod system_visitor;
mod tag;
mod token;

pub use ask::Ask;
pub use cache::PolicyCache;
pub use call::{Call, Options};
pub use decision::{Allow, Decision, Deny};
pub use directories::Directories;
pub use error::{LoadError, LoadErrorKind};
pub use explain::{Explanation, MissedColumn, NearMiss};
pub use load::LEGACY_DIRECTORY;
pub use policy::Policy;
pub use reason::DenyReason;
pub use rule::{Action, Rule, RuleOrigin};
pub use source::{PolicySource, SourceError};
pub use system::{QubeInfo, SystemInfo, SystemInfoError};
pub use token::Token;
