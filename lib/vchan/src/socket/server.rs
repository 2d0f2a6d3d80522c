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
pub struct Server(Kind);

#[derive(Debug)]
enum Kind {
    Socket(Listener),
    #[cfg(feature = "xen")]
    Xen(crate::xen::XenServer),
}

impl Server {
    /// Makes a server for `peer` on `port`. It replaces one of the same name that an earlier process has left behind.
    ///
    /// # Errors
    /// The kernel's: no such directory, no permission, no descriptors left.
    pub fn bind(config: &Config, peer: DomId, port: u16) -> io::Result<Self> {
        if config.is_xen() {
            #[cfg(feature = "xen")]
            return Ok(Self(Kind::Xen(crate::xen::XenServer::bind(peer, port)?)));
            #[cfg(not(feature = "xen"))]
            return Err(Config::no_xen());
        }
        Ok(Self(Kind::Socket(Listener::bind(config, peer, port)?)))
    }

    /// Waits for the client, for ever without `timeout`, and removes the server's name.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when nobody came in time; [`io::ErrorKind::ConnectionReset`] when Xen says that the peer
    /// is dead; otherwise the kernel's.
    pub fn accept(self, timeout: Option<Duration>) -> io::Result<Vchan> {
        match self.0 {
            Kind::Socket(listener) => listener.accept(timeout),
            #[cfg(feature = "xen")]
            Kind::Xen(server) => server.accept(timeout),
        }
    }
}

impl AsFd for Server {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Kind::Socket(listener) => listener.listener.as_fd(),
            #[cfg(feature = "xen")]
            Kind::Xen(server) => server.as_fd(),
        }
    }
}

/// A listening socket and its name.
#[derive(Debug)]
struct Listener {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Listener {
    /// The socket listens before it gets its name, so a client never sees it refuse.
    fn bind(config: &Config, peer: DomId, port: u16) -> io::Result<Self> {
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

    fn accept(self, timeout: Option<Duration>) -> io::Result<Vchan> {
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

impl Drop for Listener {
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
