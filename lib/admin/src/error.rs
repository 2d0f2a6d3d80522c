//! Why a question to qubesd was not answered as hoped.

use crate::ErrorClass;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// What can go wrong between the question and a good answer.
#[derive(Debug)]
pub enum AdminError {
    /// Nobody serves at the socket, or it cannot be reached.
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// The connection broke, or no answer came within the time limit.
    Exchange {
        /// The method and what it was about, for example `admin.vm.Start on work`.
        question: String,
        /// The system's reason.
        cause: io::Error,
    },
    /// The other side closed without an answer: it does not say why (spec/admin-api.md, section 3).
    NoAnswer {
        /// The method and what it was about.
        question: String,
    },
    /// The answer is none that the protocol knows, or not of the form that this method gives.
    Protocol {
        /// The method and what it was about.
        question: String,
        /// What is wrong with the answer.
        reason: &'static str,
    },
    /// The other side refused.
    Refused {
        /// The kind of refusal.
        class: ErrorClass,
        /// A finished text for a person.
        message: String,
    },
}

impl AdminError {
    /// The kind of refusal, when it is one.
    #[must_use]
    pub fn class(&self) -> Option<&ErrorClass> {
        match self {
            Self::Refused { class, .. } => Some(class),
            _ => None,
        }
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { socket, cause } => {
                write!(f, "cannot reach the Admin API at {}: {cause}", socket.display())
            }
            Self::Exchange { question, cause } => write!(f, "{question}: {cause}"),
            Self::NoAnswer { question } => {
                write!(f, "{question}: the Admin API closed without an answer; its log knows why")
            }
            Self::Protocol { question, reason } => write!(f, "{question}: unusable answer: {reason}"),
            Self::Refused { class, message } => {
                write!(f, "{} ({class})", names::printable(message.as_bytes()))
            }
        }
    }
}

impl std::error::Error for AdminError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { cause, .. } | Self::Exchange { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
