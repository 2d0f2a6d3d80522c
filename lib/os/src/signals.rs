//! Signals as input to a poll loop.
//!
//! A signal mask is inherited by every program that is started (the standard library leaves it alone), and a program
//! with SIGCHLD or SIGTERM blocked behaves oddly. So nothing is blocked here: handlers write to a socket, and handlers
//! are reset by exec.

use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Some signals of this process; readable when one has come.
#[derive(Debug)]
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Takes these signals from now on, in place of their default action.
    ///
    /// # Errors
    /// No descriptors are left, or one of the signals cannot be taken.
    pub fn take(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        SignalDelivery::with_pipe(read, write, SignalOnly, signals).map(Self)
    }

    /// The signals that have come since the last call, each once. Never waits.
    pub fn pending(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, poll};
    use std::process::Command;

    #[test]
    fn a_signal_is_seen_and_no_child_inherits_a_mask() {
        let mut signals = Signals::take(&[libc::SIGUSR2]).unwrap();
        assert!(signals.pending().is_empty());
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR2).unwrap();
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 10_000u16), Ok(1));
        assert_eq!(signals.pending(), [libc::SIGUSR2]);
        let status = Command::new("grep").args(["SigBlk", "/proc/self/status"]).output().unwrap();
        assert!(
            String::from_utf8_lossy(&status.stdout).trim_end().ends_with("0000000000000000"),
            "{status:?}"
        );
    }
}
