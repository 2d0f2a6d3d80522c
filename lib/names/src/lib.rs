//! The names of the Qubes world as types.
//!
//! A value of one of these types has been checked: the only constructors are parsers ([`std::str::FromStr`]),
//! so code that holds a [`QubeName`] need not ask again whether it could be `../x`. The crate is pure: it sees no
//! file, clock, environment or random source.
#![forbid(unsafe_code)]

mod ids;
mod printable;
mod qube;
mod service;
mod target;

pub use ids::{DomId, Generation, Uuid};
pub use printable::{Printable, printable};
pub use qube::{QubeName, QubeRef, Tag, UserName};
pub use service::{Argument, ServiceCall, ServiceName};
pub use target::Target;

/// Why a text is not the name it should be. Display names the kind, the (sanitised) text and the rule it broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// What the text should have been, for example "qube name".
    pub kind: &'static str,
    /// The text as given, cut to 80 characters and sanitised.
    pub text: String,
    /// The rule that it broke, as half a sentence.
    pub rule: &'static str,
}

impl NameError {
    pub(crate) fn new(kind: &'static str, text: &str, rule: &'static str) -> Self {
        let text = printable(text.as_bytes()).to_string().chars().take(80).collect();
        Self { kind, text, rule }
    }
}

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\" is no {}: {}", self.text, self.kind, self.rule)
    }
}

impl std::error::Error for NameError {}
