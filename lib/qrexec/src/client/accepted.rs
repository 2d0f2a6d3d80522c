//! A daemon's word on a data connection.

use super::ClientError;
use names::DomId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Where the data connection is. As long as this is held, the daemon tells of the call's end, by closing its side: the
/// descriptor then polls readable. Dropping it does not end the call (spec/qrexec-wire.md 4).
#[derive(Debug)]
pub struct Accepted {
    pub(super) target: String,
    /// Domain id of the data connection's other end; where the daemon has answered, that of its own qube.
    pub domain: DomId,
    /// The data port.
    pub port: u16,
    pub(super) socket: UnixStream,
}

impl Accepted {
    /// Waits until the daemon says that the call has ended or that it has lost its agent; for ever without `timeout`.
    /// False when the time ran out.
    ///
    /// # Errors
    /// [`ClientError::System`].
    pub fn wait_for_end(&self, timeout: Option<Duration>) -> Result<bool, ClientError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, until(deadline)) {
                Ok(0) if is_over(deadline) => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                // The end; a daemon has nothing else to say here.
                Ok(_) => return Ok(true),
                Err(error) => {
                    return Err(ClientError::System {
                        step: "waiting for the end of a call to",
                        path: self.target.as_str().into(),
                        source: error.into(),
                    });
                }
            }
        }
    }
}

impl AsFd for Accepted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The rest of a limit for poll(2), rounded up.
pub(super) fn until(deadline: Option<Instant>) -> PollTimeout {
    deadline.map_or(PollTimeout::NONE, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
    })
}

pub(super) fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}
