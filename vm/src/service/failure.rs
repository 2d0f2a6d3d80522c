//! What ends a service that opens something: what may happen to any of them, or what happens to one alone.

use super::application::ApplicationError;
use super::session::Stop;
use crate::exit_code::{FAILURE, of_signal};
use crate::say::say;
use std::fmt::{self, Display, Formatter};
use std::io;

/// Serves one call of the service `program`: its exit code, after a word about why it failed.
pub(super) fn exit_code_of<E: OwnFailure>(
    program: &str,
    serve: impl FnOnce() -> Result<u8, Failure<E>>,
) -> u8 {
    match serve() {
        Ok(code) => code,
        Err(failure) => {
            say(program, &failure);
            failure.exit_code()
        }
    }
}

/// What can go wrong in one service alone.
pub(super) trait OwnFailure: Display {}

/// Why nothing was opened, or not to its end.
#[derive(Debug)]
pub(super) enum Failure<E> {
    System(io::Error),
    Application(ApplicationError),
    Stopped(Stop),
    Own(E),
}

impl<E> Failure<E> {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Application(error) => error.exit_code(),
            Self::Stopped(Stop::Signal(signal)) => of_signal(*signal),
            Self::System(_) | Self::Stopped(_) | Self::Own(_) => FAILURE,
        }
    }
}

impl<E> From<ApplicationError> for Failure<E> {
    fn from(error: ApplicationError) -> Self {
        Self::Application(error)
    }
}

impl<E> From<Stop> for Failure<E> {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl<E: OwnFailure> From<E> for Failure<E> {
    fn from(own: E) -> Self {
        Self::Own(own)
    }
}

impl<E: Display> Display for Failure<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(cause) => write!(f, "cannot set up the service: {cause}"),
            Self::Application(error) => error.fmt(f),
            Self::Stopped(Stop::Signal(signal)) => {
                write!(f, "ended by signal {signal}; the application was closed")
            }
            Self::Stopped(Stop::CallerGone) => f.write_str("the caller is gone; the application was closed"),
            Self::Stopped(Stop::System(cause)) => write!(f, "the service was ended: {cause}"),
            Self::Own(own) => own.fmt(f),
        }
    }
}
