//! A refusal as the Admin API answers it.

use admin::ErrorClass;
use std::fmt;

/// Why something is not done: class and text of the answer (spec/admin-api.md 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The class.
    pub class: ErrorClass,
    /// The text, finished.
    pub message: String,
}

impl Refusal {
    /// A refusal of this class.
    #[must_use]
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into() }
    }

    /// `ProtocolError`.
    #[must_use]
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::ProtocolError, message)
    }

    /// `PermissionDenied`.
    #[must_use]
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::PermissionDenied, message)
    }

    /// `QubesValueError`.
    #[must_use]
    pub fn value(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::QubesValueError, message)
    }

    /// `QubesException`.
    #[must_use]
    pub fn general(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::QubesException, message)
    }

    /// `QubesVMNotFoundError`.
    #[must_use]
    pub fn no_such_qube(qube: impl fmt::Display) -> Self {
        Self::new(ErrorClass::QubesVMNotFoundError, format!("No such domain: '{qube}'"))
    }

    /// `QubesNoSuchPropertyError`.
    #[must_use]
    pub fn no_such_property(property: &str, holder: impl fmt::Display) -> Self {
        Self::new(ErrorClass::QubesNoSuchPropertyError, format!("Invalid property '{property}' of {holder}"))
    }

    /// `QubesVMNotHaltedError`.
    #[must_use]
    pub fn not_halted(qube: impl fmt::Display) -> Self {
        Self::new(ErrorClass::QubesVMNotHaltedError, format!("Domain is not powered off: '{qube}'"))
    }

    /// `QubesVMNotStartedError`.
    #[must_use]
    pub fn not_started(qube: impl fmt::Display) -> Self {
        Self::new(ErrorClass::QubesVMNotStartedError, format!("Domain is powered off: '{qube}'"))
    }

    /// `QubesVMNotRunningError`.
    #[must_use]
    pub fn not_running(qube: impl fmt::Display) -> Self {
        Self::new(
            ErrorClass::QubesVMNotRunningError,
            format!("Domain not running (either powered off or paused): '{qube}'"),
        )
    }

    /// `QubesVMInUseError`.
    #[must_use]
    pub fn in_use(qube: impl fmt::Display, by: &str) -> Self {
        Self::new(ErrorClass::QubesVMInUseError, format!("Domain is in use: '{qube}';  {by}"))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.class)
    }
}

impl std::error::Error for Refusal {}
