//! What went wrong, said so that an administrator can act on it.

use std::fmt;

/// A call that did not happen or did not end well (promise P9).
///
/// Display is one line: step, object, cause and remedy. It goes to stderr in dom0 and to the journal; the qube that
/// called learns the exit code and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// The step that failed, as in "cannot STEP".
    pub step: &'static str,
    /// What it was done to: a qube, a template, a file.
    pub object: String,
    /// Why.
    pub cause: String,
    /// What the administrator can do; empty when there is nothing useful to say.
    pub remedy: String,
    /// Refused, or our own trouble.
    pub kind: ErrorKind,
}

/// Decides the exit code (spec/qrexec-wire.md 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Refused: exit code 126.
    Refused,
    /// Our trouble: exit code 125.
    Trouble,
}

impl CallError {
    /// A refusal: exit code 126.
    #[must_use]
    pub fn refused(step: &'static str, object: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Refused, step, object, cause)
    }

    /// Our own trouble: exit code 125.
    #[must_use]
    pub fn trouble(step: &'static str, object: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Trouble, step, object, cause)
    }

    /// Adds what the administrator can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = remedy.to_string();
        self
    }

    /// The exit code of the service: 126 or 125.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Refused => 126,
            ErrorKind::Trouble => 125,
        }
    }

    fn new(kind: ErrorKind, step: &'static str, object: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self { step, object: object.to_string(), cause: cause.to_string(), remedy: String::new(), kind }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.step, self.object, self.cause)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl std::error::Error for CallError {}
