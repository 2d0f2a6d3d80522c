//! A command that did not work: one line and an exit code.

use std::fmt;

/// What the user is told.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    text: String,
}

impl Failure {
    /// The command line or the file is not what it should be: exit code 2.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self { exit: 2, text: text.into() }
    }

    /// Our own trouble: exit code 125.
    pub(crate) fn trouble(step: &str, object: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { exit: 125, text: format!("cannot {step} {object}: {cause}") }
    }

    /// A file or URL that cannot be opened: exit code 1.
    pub(super) fn subject(text: impl Into<String>) -> Self {
        Self { exit: 1, text: text.into() }
    }

    /// Ended by a signal: exit code 128 and its number.
    pub(super) fn signal(signal: i32) -> Self {
        let exit = u8::try_from(128 + signal).unwrap_or(255);
        Self { exit, text: "ended by a signal; everything was taken down".into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
