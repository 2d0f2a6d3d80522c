//! A call from dom0 to a qube, from the daemon's answer to the exit code.

use super::accepted::{is_over, until};
use super::{Accepted, ClientError};
use crate::data::{self, CallReport, Errors, Options};
use names::DomId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use vchan::{Server, Vchan};

/// A call that was asked for; the qube's agent is on its way to the data vchan.
#[derive(Debug)]
pub struct Call {
    accepted: Accepted,
    server: Server,
}

impl Call {
    /// The agent was told at the same moment as we: the sooner the server is there, the less it has to look for it.
    pub(super) fn bind(config: &vchan::Config, accepted: Accepted) -> Result<Self, ClientError> {
        match Server::bind(config, accepted.domain, accepted.port) {
            Ok(server) => Ok(Self { accepted, server }),
            Err(source) => Err(ClientError::System {
                step: "making the data vchan",
                path: config.path(config.own, accepted.domain, accepted.port),
                source,
            }),
        }
    }

    /// Domain id of the qube.
    #[must_use]
    pub const fn domain(&self) -> DomId {
        self.accepted.domain
    }

    /// The data port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.accepted.port
    }

    /// Waits for the agent, 10 seconds at most (spec/qrexec-wire.md 7.1).
    ///
    /// # Errors
    /// [`ClientError::Timeout`]; [`ClientError::Ended`] at once when the daemon says that it has lost its agent.
    pub fn connect(self) -> Result<Connected, ClientError> {
        self.connect_within(Some(PATIENCE))
    }

    /// As [`Self::connect`] with another limit; none waits for ever.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_within(self, timeout: Option<Duration>) -> Result<Connected, ClientError> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let mut fds = [
                PollFd::new(self.server.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.accepted.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, until(deadline)) {
                Ok(0) if is_over(deadline) => {
                    let step = "waiting for the qrexec agent";
                    return Err(ClientError::Timeout { target: self.accepted.target, step });
                }
                Ok(0) | Err(Errno::EINTR) => {}
                // A call may be over already; its agent has been here then.
                Ok(_) if fds[0].any() == Some(true) => break,
                Ok(_) => {
                    // The agent may have come between these two looks, and the daemon may have spoken after that.
                    let mut fds = [PollFd::new(self.server.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut fds, 0u8) == Ok(1) {
                        break;
                    }
                    return Err(ClientError::Ended { target: self.accepted.target });
                }
                Err(error) => return Err(self.failed(error.into())),
            }
        }
        let Self { accepted, server } = self;
        match server.accept(Some(Duration::ZERO)) {
            Ok(vchan) => Ok(Connected { accepted, vchan }),
            Err(source) => Err(failed(&accepted, source)),
        }
    }

    fn failed(&self, source: std::io::Error) -> ClientError {
        failed(&self.accepted, source)
    }
}

/// A call whose agent is there.
#[derive(Debug)]
pub struct Connected {
    accepted: Accepted,
    vchan: Vchan,
}

impl Connected {
    /// Domain id of the qube.
    #[must_use]
    pub const fn domain(&self) -> DomId {
        self.accepted.domain
    }

    /// Relays between the descriptors and the service until the call has ended, as [`crate::data::call`].
    ///
    /// # Errors
    /// [`ClientError::Data`].
    pub fn run(
        self,
        input: Option<OwnedFd>,
        output: OwnedFd,
        errors: Errors,
        options: &Options,
    ) -> Result<CallReport, ClientError> {
        Ok(data::call(self.vchan, input, output, errors, options)?)
    }
}

fn failed(accepted: &Accepted, source: std::io::Error) -> ClientError {
    ClientError::System {
        step: "waiting for the qrexec agent of",
        path: accepted.target.as_str().into(),
        source,
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
