//! A connected vchan.

use super::{Config, arrival};
use names::DomId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connected vchan. Readable when bytes or the peer's end are there.
///
/// Reads and writes block unless [`Self::set_nonblocking`] says otherwise. A write to a closed peer fails with
/// [`io::ErrorKind::BrokenPipe`]; what the peer sent before it closed stays readable.
#[derive(Debug)]
pub struct Vchan {
    stream: UnixStream,
    /// On Xen, what moves the bytes. After the stream, for it ends when that has closed.
    #[cfg(feature = "xen")]
    pump: Option<std::sync::Arc<crate::xen::Pump>>,
}

impl Vchan {
    /// Connects to the server of domain `peer` on `port`, waiting until there is one, for ever without `timeout`.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when no server appeared in time; [`io::ErrorKind::ConnectionReset`] when Xen says that
    /// the peer is dead; otherwise the kernel's.
    pub fn connect(config: &Config, peer: DomId, port: u16, timeout: Option<Duration>) -> io::Result<Self> {
        if config.is_xen() {
            #[cfg(feature = "xen")]
            return crate::xen::connect(peer, port, timeout);
            #[cfg(not(feature = "xen"))]
            return Err(Config::no_xen());
        }
        arrival::connect(&config.dir, &Config::name(peer, config.own, port), timeout).map(Self::from)
    }

    /// One end of a socket pair, at whose other end a thread serves a ring.
    #[cfg(feature = "xen")]
    pub(crate) fn pumped(stream: UnixStream, pump: crate::xen::Pump) -> Self {
        Self { pump: Some(std::sync::Arc::new(pump)), ..Self::from(stream) }
    }

    /// Both ends of a vchan inside one process.
    ///
    /// # Errors
    /// The kernel's: no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Self::from(one), Self::from(other)))
    }

    /// Whether the peer still holds its end. What it sent before it closed may still be unread.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match recv(self.stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Ok(0) => false,
            Ok(_) => !self.is_hung_up(),
            Err(error) => matches!(error, Errno::EAGAIN | Errno::EINTR),
        }
    }

    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// Whether a read would return bytes at once.
    #[must_use]
    pub fn is_data_ready(&self) -> bool {
        let peek = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(self.stream.as_raw_fd(), &mut [0], peek), Ok(1..))
    }

    /// A second handle on the same vchan. It closes when the last handle is dropped.
    ///
    /// # Errors
    /// The kernel's: no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            stream: self.stream.try_clone()?,
            #[cfg(feature = "xen")]
            pump: self.pump.clone(),
        })
    }

    /// Whether reads and writes return [`io::ErrorKind::WouldBlock`] rather than wait. Shared with clones.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    /// Says that nothing more will be written. The peer, when it is libvchan-socket, takes that as the end of the vchan.
    /// On Xen, where an end is open or closed as a whole, the peer learns of it when this end is dropped.
    ///
    /// # Errors
    /// The kernel's.
    pub fn finish_writing(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }
}

impl From<UnixStream> for Vchan {
    /// Takes a connected stream socket as a vchan.
    fn from(stream: UnixStream) -> Self {
        if let Err(error) = setsockopt(&stream, sockopt::SndBuf, &SEND_BUFFER) {
            log::debug!("vchan keeps the default send buffer: {error}");
        }
        Self {
            stream,
            #[cfg(feature = "xen")]
            pump: None,
        }
    }
}

impl AsFd for Vchan {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Read for &Vchan {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }
}

impl Write for &Vchan {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        (&self.stream).write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Vchan {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }
}

impl Write for Vchan {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        (&self.stream).write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// On Unix sockets the sender's buffer alone bounds what is under way (unix(7)). The kernel doubles this, and cuts it to
/// net.core.wmem_max where that is smaller. More was measured to gain nothing.
const SEND_BUFFER: usize = 1 << 18;
