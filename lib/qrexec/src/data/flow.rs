//! Moving bytes between descriptors without waiting.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::{pipe2, read, write};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What one attempt to move bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// So many bytes were moved.
    Moved(usize),
    /// Nothing can be moved now.
    Blocked,
    /// The source has ended.
    Ended,
    /// The other end is gone.
    Broken,
    /// The kernel cannot splice these two.
    Unsupported,
}

/// Reads what is there.
pub(super) fn take(from: impl AsFd, buffer: &mut [u8]) -> io::Result<Flow> {
    loop {
        return match read(&from, buffer) {
            Ok(0) if !buffer.is_empty() => Ok(Flow::Ended),
            Ok(count) => Ok(Flow::Moved(count)),
            Err(Errno::EINTR) => continue,
            // The peer closed with bytes of ours unread (unix(7)); all of its own were read before this.
            Err(Errno::ECONNRESET) => Ok(Flow::Ended),
            Err(error) => trouble(error),
        };
    }
}

/// Writes what there is room for.
pub(super) fn give(to: impl AsFd, bytes: &[u8]) -> io::Result<Flow> {
    loop {
        return match write(&to, bytes) {
            Ok(count) => Ok(Flow::Moved(count)),
            Err(Errno::EINTR) => continue,
            Err(error) => trouble(error),
        };
    }
}

/// A pipe of our own: where spliced bytes stay between two descriptors that are no pipes.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Bytes inside.
    pub(super) held: usize,
}

impl Pipe {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        grow(&writer);
        Ok(Self { reader, writer, held: 0 })
    }

    /// Moves up to `most` bytes in, without copying them.
    pub(super) fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<Flow> {
        let flow = splice_some(from, &self.writer, most)?;
        if let Flow::Moved(count) = flow {
            self.held += count;
        }
        Ok(flow)
    }

    /// Moves what is inside out, without copying it.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<Flow> {
        let flow = splice_some(&self.reader, to, self.held)?;
        if let Flow::Moved(count) = flow {
            self.held -= count;
        }
        Ok(flow)
    }

    /// Copies up to a buffer full of what is inside, for a descriptor that cannot be spliced to.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match take(&self.reader, buffer)? {
            Flow::Moved(count) => {
                self.held -= count;
                Ok(count)
            }
            _ => Ok(0),
        }
    }
}

/// Asks for more room in a pipe. A user has only so much of it (pipe(7)), and without it things work too.
pub(super) fn grow(pipe: impl AsFd) {
    if let Err(error) = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE)) {
        log::trace!("a pipe keeps its size: {error}");
    }
}

/// Moves up to `most` bytes from one descriptor to another, one of which must be a pipe, without copying them.
pub(super) fn splice_some(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<Flow> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    loop {
        return match splice(&from, None, &to, None, most, flags) {
            Ok(0) => Ok(Flow::Ended),
            Ok(count) => Ok(Flow::Moved(count)),
            Err(Errno::EINTR) => continue,
            Err(Errno::EINVAL) => Ok(Flow::Unsupported),
            Err(Errno::ECONNRESET) => Ok(Flow::Ended),
            Err(error) => trouble(error),
        };
    }
}

fn trouble(error: Errno) -> io::Result<Flow> {
    match error {
        Errno::EAGAIN => Ok(Flow::Blocked),
        Errno::EPIPE | Errno::ECONNRESET => Ok(Flow::Broken),
        _ => Err(error.into()),
    }
}

/// Four messages: more would only push the bytes out of the processor's cache, and use up a user's share of pipe memory.
const PIPE_SIZE: i32 = 1 << 18;
