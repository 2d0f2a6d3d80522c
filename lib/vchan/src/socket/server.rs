//! The end that waits for its one client.

use super::{Config, Vchan};
use names::DomId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A vchan server that no client has reached yet. Readable when the client is there.
///
/// Dropping it, accepted or not, removes the socket's name.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Server {
    /// Makes a server for `peer` on `port`. It replaces one of the same name that an earlier process has left behind.
    ///
    /// The socket listens before it gets its name, so a client never sees it refuse.
    ///
    /// # Errors
    /// The kernel's: no such directory, no permission, no descriptors left.
    pub fn bind(config: &Config, peer: DomId, port: u16) -> io::Result<Self> {
        let path = config.path(config.own, peer, port);
        let unnamed = config.dir.join(format!(".{}.new", Config::name(config.own, peer, port)));
        let listener = match os::socket::listen(&unnamed) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                fs::remove_file(&unnamed)?;
                os::socket::listen(&unnamed)?
            }
            other => other?,
        };
        let inode = fs::symlink_metadata(&unnamed)?.ino();
        fs::rename(&unnamed, &path)?;
        Ok(Self { listener, path, inode })
    }

    /// Waits for the client, for ever without `timeout`, and removes the socket's name.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when nobody came in time; otherwise the kernel's.
    pub fn accept(self, timeout: Option<Duration>) -> io::Result<Vchan> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = match deadline {
                None => PollTimeout::NONE,
                Some(deadline) => poll_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            match poll(&mut [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)], left) {
                Ok(0) if deadline.is_some_and(|deadline| Instant::now() < deadline) => {}
                Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no client came")),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (stream, _) = self.listener.accept()?;
        Ok(Vchan::from(stream))
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The name may belong to a newer server by now: a port is free again as soon as its call has ended.
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours {
            if let Err(error) = fs::remove_file(&self.path) {
                log::warn!("removing vchan socket {}: {error}", self.path.display());
            }
        }
    }
}

/// Rounded up, so that waiting out the rest of a limit is one wait.
pub(super) fn poll_timeout(left: Duration) -> PollTimeout {
    let millis = left.as_millis() + u128::from(left.subsec_nanos() % 1_000_000 != 0);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}
