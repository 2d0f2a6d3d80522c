//! The stream of events.

use crate::AdminError;
use crate::protocol::{Event, EventDecoder, EventError};
use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// What happens to all qubes, as an endless iterator that waits for the next event.
///
/// To wait for more than this one thing, poll its descriptor for input and then call [`Self::receive`].
#[derive(Debug)]
pub struct EventStream {
    socket: UnixStream,
    decoder: EventDecoder,
    pending: VecDeque<Event>,
    over: bool,
}

impl EventStream {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { socket, decoder: EventDecoder::default(), pending: VecDeque::new(), over: false }
    }

    /// Reads once (waiting only when the descriptor has no input) and returns all events that are whole by then;
    /// an empty list when the bytes made none whole.
    ///
    /// # Errors
    /// [`AdminError::NoAnswer`] at the end of the stream, and whatever makes it unusable.
    pub fn receive(&mut self) -> Result<Vec<Event>, AdminError> {
        self.read_once()?;
        Ok(self.pending.drain(..).collect())
    }

    fn read_once(&mut self) -> Result<(), AdminError> {
        let question = || "admin.Events".to_owned();
        let mut buffer = [0u8; 16 * 1024];
        let length = loop {
            match self.socket.read(&mut buffer) {
                Ok(length) => break length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(AdminError::Exchange { question: question(), cause }),
            }
        };
        if length == 0 {
            return Err(AdminError::NoAnswer { question: question() });
        }
        self.decoder.push(buffer.get(..length).unwrap_or_default());
        loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => self.pending.push_back(event),
                Ok(None) => return Ok(()),
                Err(EventError::Malformed(reason)) => {
                    return Err(AdminError::Protocol { question: question(), reason });
                }
                Err(EventError::Refused { class, message }) => {
                    return Err(AdminError::Refused { class, message });
                }
            }
        }
    }
}

impl Iterator for EventStream {
    type Item = Result<Event, AdminError>;

    /// The next event; an error once when the stream ends, then `None`.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(Ok(event));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.read_once() {
                self.over = true;
                if self.pending.is_empty() {
                    return Some(Err(error));
                }
            }
        }
    }
}

impl AsFd for EventStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
