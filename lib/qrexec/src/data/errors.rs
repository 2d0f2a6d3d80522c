//! Where a service's words on standard error go.

use super::flow::Flow;
use super::local::Local;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

/// Where a service's words on standard error go.
pub enum Errors {
    /// To a descriptor, whose flags stay as they are.
    To(OwnedFd),
    /// To a function, as they come; it is dropped at the end of the call. The call waits while it works.
    Told(Teller),
}

/// Is told what a service says.
pub type Teller = Box<dyn FnMut(&[u8])>;

impl<T: Into<OwnedFd>> From<T> for Errors {
    fn from(descriptor: T) -> Self {
        Self::To(descriptor.into())
    }
}

/// The same at work.
pub(super) enum ErrorSink {
    Local(Local),
    Told(Teller),
}

impl From<Errors> for ErrorSink {
    fn from(errors: Errors) -> Self {
        match errors {
            Errors::To(descriptor) => Self::Local(Local::untouched(descriptor)),
            Errors::Told(teller) => Self::Told(teller),
        }
    }
}

impl ErrorSink {
    /// The descriptor, where it is one.
    pub(super) const fn local(&self) -> Option<&Local> {
        match self {
            Self::Local(local) => Some(local),
            Self::Told(_) => None,
        }
    }

    /// See [`Self::local`].
    pub(super) const fn local_mut(&mut self) -> Option<&mut Local> {
        match self {
            Self::Local(local) => Some(local),
            Self::Told(_) => None,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.local().is_none_or(|local| local.ready)
    }

    pub(super) fn give(&mut self, bytes: &[u8]) -> io::Result<Flow> {
        match self {
            Self::Local(local) => local.give(bytes),
            Self::Told(teller) => {
                teller(bytes);
                Ok(Flow::Moved(bytes.len()))
            }
        }
    }
}

impl fmt::Debug for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(descriptor) => f.debug_tuple("To").field(descriptor).finish(),
            Self::Told(_) => f.write_str("Told"),
        }
    }
}

impl fmt::Debug for ErrorSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(local) => f.debug_tuple("Local").field(local).finish(),
            Self::Told(_) => f.write_str("Told"),
        }
    }
}
