//! The local ends of a call: pipes, sockets, terminals, files.

use super::flow::{self, Flow};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{Shutdown, shutdown};
use nix::sys::stat::{SFlag, fstat};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use vchan::Vchan;

/// A local descriptor.
#[derive(Debug)]
pub(super) struct Local {
    fd: OwnedFd,
    kind: Kind,
    /// Device and inode number.
    identity: (u64, u64),
    /// Its flags as they were, when we have changed them. Whoever shares it must find it as it was.
    before: Option<OFlag>,
    /// To be said to the other end of a socket when this direction ends, since the other direction may stay open.
    farewell: Option<Shutdown>,
    /// Whether an attempt may be made without asking poll(2) first.
    pub(super) ready: bool,
    /// Whether splice(2) may be tried.
    pub(super) splice: bool,
    /// Whether splice(2) may be tried without a pipe of our own in between: this is a pipe.
    pub(super) direct: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Pipe or socket: never waits, by O_NONBLOCK.
    Stream { pipe: bool },
    /// Never waits by nature.
    File,
    /// Terminal or device: left as it is, since its flags are shared with other programs; asked only when poll(2) says so.
    Device,
}

impl Local {
    /// An end that never waits.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        let kind = kind(stat.st_mode);
        let mut before = None;
        if matches!(kind, Kind::Stream { .. }) {
            let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
            if !flags.contains(OFlag::O_NONBLOCK) {
                fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
                before = Some(flags);
            }
        }
        let identity = (stat.st_dev, stat.st_ino);
        Ok(Self {
            fd,
            kind,
            identity,
            before,
            farewell: None,
            ready: kind != Kind::Device,
            splice: true,
            direct: kind == Kind::Stream { pipe: true },
        })
    }

    /// An end whose flags stay as they are, for little output.
    pub(super) const fn untouched(fd: OwnedFd) -> Self {
        Self {
            fd,
            kind: Kind::Device,
            identity: (0, 0),
            before: None,
            farewell: None,
            ready: false,
            splice: false,
            direct: false,
        }
    }

    /// For a socket that serves both directions: the end of each is told by shutdown(2), and as both are told in the end,
    /// nobody is left who would mind its flags.
    pub(super) fn half(mut self, direction: Shutdown) -> Self {
        self.farewell = Some(direction);
        self.before = None;
        self
    }

    /// The reading half of a socket that this end writes to; from then on the end of this one is told by shutdown(2).
    /// `None` of anything but a socket.
    pub(super) fn reading_half(&mut self) -> io::Result<Option<Self>> {
        if self.kind != (Kind::Stream { pipe: false }) {
            return Ok(None);
        }
        let half = Self::new(self.fd.try_clone()?)?.half(Shutdown::Read);
        self.farewell = Some(Shutdown::Write);
        self.before = None;
        Ok(Some(half))
    }

    /// Whether both are one socket, so that closing one of them tells nobody anything.
    pub(super) fn is_one_socket_with(&self, other: &Self) -> bool {
        self.kind == (Kind::Stream { pipe: false }) && self.identity == other.identity
    }

    /// Gives a pipe more room.
    pub(super) fn grow(&self) {
        if self.kind == (Kind::Stream { pipe: true }) {
            flow::grow(&self.fd);
        }
    }

    /// Reads what is there. After less than asked for, the rest is for poll(2) to find.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> io::Result<Flow> {
        let asked = buffer.len();
        let flow = match flow::take(&self.fd, buffer) {
            // A terminal whose other side was closed.
            Err(error) if self.kind == Kind::Device && error.raw_os_error() == Some(Errno::EIO as i32) => {
                Flow::Ended
            }
            other => other?,
        };
        self.seen(flow, asked);
        Ok(flow)
    }

    /// Writes what there is room for.
    pub(super) fn give(&mut self, bytes: &[u8]) -> io::Result<Flow> {
        if self.kind == Kind::Device {
            return self.give_little(bytes);
        }
        let flow = flow::give(&self.fd, bytes)?;
        self.seen(flow, bytes.len());
        Ok(flow)
    }

    /// Writes at most as much as a pipe that polls writable takes without waiting (pipe(7): PIPE_BUF), so that this
    /// does not wait although the descriptor may be a blocking one.
    fn give_little(&mut self, bytes: &[u8]) -> io::Result<Flow> {
        let little = bytes.get(..4096).unwrap_or(bytes);
        let flow = flow::give(&self.fd, little)?;
        self.ready = false;
        Ok(flow)
    }

    /// Moves what is there into a pipe.
    pub(super) fn fill(&mut self, pipe: &mut flow::Pipe, most: usize) -> io::Result<Flow> {
        let flow = pipe.fill(&self.fd, most)?;
        self.seen(flow, most);
        Ok(flow)
    }

    /// Moves bytes of a vchan straight to this end. [`Flow::Blocked`] may be said by either of the two.
    pub(super) fn splice_from(&self, vchan: &Vchan, most: usize) -> io::Result<Flow> {
        flow::splice_some(vchan, &self.fd, most)
    }

    /// Moves what a pipe holds to this end.
    pub(super) fn drain(&mut self, pipe: &mut flow::Pipe) -> io::Result<Flow> {
        let held = pipe.held;
        let flow = pipe.drain(&self.fd)?;
        self.seen(flow, held);
        Ok(flow)
    }

    fn seen(&mut self, flow: Flow, asked: usize) {
        match flow {
            Flow::Blocked => self.ready = false,
            Flow::Moved(count) if count < asked => self.ready = self.kind == Kind::File,
            Flow::Moved(_) => self.ready = self.kind != Kind::Device,
            _ => {}
        }
    }
}

impl AsFd for Local {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(flags) = self.before {
            if let Err(error) = fcntl(&self.fd, FcntlArg::F_SETFL(flags)) {
                log::debug!("restoring the flags of a local descriptor: {error}");
            }
        }
        if let Some(how) = self.farewell {
            if let Err(error) = shutdown(self.fd.as_raw_fd(), how) {
                // ENOTCONN, ENOTSOCK: there is nobody to tell.
                log::trace!("closing one direction: {error}");
            }
        }
    }
}

fn kind(mode: u32) -> Kind {
    let is = |kind: SFlag| mode & SFlag::S_IFMT.bits() == kind.bits();
    if is(SFlag::S_IFIFO) {
        Kind::Stream { pipe: true }
    } else if is(SFlag::S_IFSOCK) {
        Kind::Stream { pipe: false }
    } else if is(SFlag::S_IFREG) {
        Kind::File
    } else {
        Kind::Device
    }
}
