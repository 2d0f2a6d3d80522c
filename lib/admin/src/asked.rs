//! A question that is under way.

use crate::AdminError;
use crate::protocol::{MAX_RESPONSE, Response, ResponseError};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A question that was put to qubesd; its answer is still to be read. Dropped unread, the question has its effect all
/// the same.
#[derive(Debug)]
pub struct Asked {
    pub(crate) socket: UnixStream,
    pub(crate) limit: Duration,
    /// Method and qube, for errors.
    pub(crate) question: String,
}

impl Asked {
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<(), AdminError> {
        let limit = Some(self.limit);
        let mut send = || -> io::Result<()> {
            self.socket.set_write_timeout(limit)?;
            self.socket.write_all(request)?;
            self.socket.shutdown(Shutdown::Write)
        };
        send().map_err(|cause| self.exchange(cause))
    }

    /// Waits for the answer: the result of a success.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn answer(mut self) -> Result<Vec<u8>, AdminError> {
        self.socket.set_read_timeout(Some(self.limit)).map_err(|cause| self.exchange(cause))?;
        let mut answer = Vec::with_capacity(16 * 1024);
        let limit = u64::try_from(MAX_RESPONSE).unwrap_or(u64::MAX);
        let read = (&mut self.socket).take(limit + 1).read_to_end(&mut answer);
        read.map_err(|cause| self.exchange(cause))?;
        let question = self.question;
        if answer.len() > MAX_RESPONSE {
            return Err(AdminError::Protocol { question, reason: "more than 16 MiB" });
        }
        match Response::parse(&answer) {
            Ok(Response::Ok(_)) => Ok(answer.split_off(2)),
            Ok(Response::Error { class, message }) => Err(AdminError::Refused { class, message }),
            Err(ResponseError::Empty) => Err(AdminError::NoAnswer { question }),
            Err(ResponseError::Malformed(reason)) => Err(AdminError::Protocol { question, reason }),
        }
    }

    fn exchange(&self, cause: io::Error) -> AdminError {
        AdminError::Exchange { question: self.question.clone(), cause }
    }
}
