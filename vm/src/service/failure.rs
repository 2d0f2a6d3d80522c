//! What ends any service that opens something, whatever it opens.

use super::application::ApplicationError;
use super::session::Stop;
use crate::exit_code::{FAILURE, of_signal};
use std::fmt::{self, Display, Formatter};
use std::io;

/// Why nothing was opened, or not to its end.
#[derive(Debug)]
pub(super) enum Failure {
    System(io::Error),
    Application(ApplicationError),
    Stopped(Stop),
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Application(error) => error.exit_code(),
            Self::Stopped(Stop::Signal(signal)) => of_signal(*signal),
            Self::System(_) | Self::Stopped(_) => FAILURE,
        }
    }
}

impl From<ApplicationError> for Failure {
    fn from(error: ApplicationError) -> Self {
        Self::Application(error)
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(cause) => write!(f, "cannot set up the service: {cause}"),
            Self::Application(error) => error.fmt(f),
            Self::Stopped(Stop::Signal(signal)) => {
                write!(f, "ended by signal {signal}; the application was closed")
            }
            Self::Stopped(Stop::CallerGone) => f.write_str("the caller is gone; the application was closed"),
            Self::Stopped(Stop::System(cause)) => write!(f, "the service was ended: {cause}"),
        }
    }
}
