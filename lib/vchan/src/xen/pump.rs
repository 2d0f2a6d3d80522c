//! Moves bytes between a ring and a socket, in both directions at once, until one side has closed.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What the pump needs of a connected ring. Nothing here blocks.
pub(super) trait Ring: Send + 'static {
    /// Takes bytes out; afterwards an event is asked for when more come.
    fn read(&mut self, buffer: &mut [u8]) -> Moved;
    /// Puts bytes in; afterwards an event is asked for when there is room again.
    fn write(&mut self, bytes: &[u8]) -> Moved;
    /// Silences the event descriptor, which is readable.
    fn silence(&mut self) -> io::Result<()>;
    /// Readable after an event, until silenced.
    fn events(&self) -> BorrowedFd<'_>;
    /// Whether the peer's domain lives: of a domain's death no event tells.
    fn is_peer_alive(&mut self) -> bool;
}

/// What became of an attempt to move bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many, at least one.
    Some(usize),
    /// None now.
    Wait,
    /// The peer has closed, and nothing of it is left.
    Closed,
}

/// The thread of one vchan. Dropping it waits for the thread, which ends when the other end of its socket is closed and
/// the ring, or nobody, has what was written there. A peer that takes nothing holds it for [`LINGER`] at most: no qube may
/// keep a process of dom0.
pub(crate) struct Pump {
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// Starts a pump. The ring is closed when it has ended.
    ///
    /// # Errors
    /// No thread left.
    pub(super) fn start(ring: impl Ring, socket: UnixStream) -> io::Result<Self> {
        Self::lingering(ring, socket, LINGER)
    }

    fn lingering(ring: impl Ring, socket: UnixStream, linger: Duration) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let work = Work::new(ring, socket, linger);
        let thread = thread::Builder::new().name("vchan".into()).spawn(move || {
            if let Err(error) = work.run() {
                log::warn!("vchan: {error}");
            }
        })?;
        Ok(Self { thread: Some(thread) })
    }
}

impl fmt::Debug for Pump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pump")
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("vchan: its thread ended early");
        }
    }
}

struct Work<R> {
    ring: R,
    socket: UnixStream,
    /// From the ring, on its way to the socket.
    incoming: Buffer,
    /// From the socket, on its way to the ring.
    outgoing: Buffer,
    /// The peer has closed or died; what it left may still be in the ring.
    peer_gone: bool,
    /// All the peer sent was taken out of the ring.
    drained: bool,
    /// Our side will write nothing more.
    finished: bool,
    /// Our side has closed.
    own_gone: bool,
    looked: Instant,
    /// When the ring last took something that our side had left when it closed.
    taken: Option<Instant>,
    linger: Duration,
}

impl<R: Ring> Work<R> {
    fn new(ring: R, socket: UnixStream, linger: Duration) -> Self {
        Self {
            ring,
            socket,
            incoming: Buffer::new(),
            outgoing: Buffer::new(),
            peer_gone: false,
            drained: false,
            finished: false,
            own_gone: false,
            looked: Instant::now(),
            taken: None,
            linger,
        }
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            while self.receive()? | self.send()? {
                self.taken = None;
            }
            let nothing_to_receive = self.own_gone || (self.drained && self.incoming.is_empty());
            let nothing_to_send = self.peer_gone || (self.finished && self.outgoing.is_empty());
            if nothing_to_receive && (nothing_to_send || self.is_stuck()) {
                return self.close();
            }
            self.wait()?;
        }
    }

    /// Whether the peer has let what our side left behind lie for too long. Only asked when our side has closed.
    fn is_stuck(&mut self) -> bool {
        self.own_gone && self.taken.get_or_insert_with(Instant::now).elapsed() >= self.linger
    }

    /// Our side reads what is on its way to it, then the end; its writes fail from now on.
    fn close(&self) -> io::Result<()> {
        match self.socket.shutdown(std::net::Shutdown::Both) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => return Err(error),
            _ => {}
        }
        // Bytes left unread here would make that end a reset.
        let mut unread = [0; 4096];
        while matches!((&self.socket).read(&mut unread), Ok(1..)) {}
        Ok(())
    }

    /// Ring to socket; whether anything moved.
    fn receive(&mut self) -> io::Result<bool> {
        if self.own_gone {
            return Ok(false);
        }
        let mut moved = false;
        if self.incoming.is_empty() && !self.drained {
            match self.ring.read(&mut self.incoming.bytes) {
                Moved::Some(count) => {
                    self.incoming.fill(count);
                    moved = true;
                }
                Moved::Closed => (self.drained, self.peer_gone) = (true, true),
                Moved::Wait if self.peer_gone => self.drained = true,
                Moved::Wait => {}
            }
        }
        if !self.incoming.is_empty() {
            match (&self.socket).write(self.incoming.left()) {
                Ok(count) => {
                    self.incoming.take(count);
                    moved = true;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) if is_end(&error) => self.own_gone = true,
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    /// Socket to ring; whether anything moved.
    fn send(&mut self) -> io::Result<bool> {
        if self.peer_gone {
            return Ok(false);
        }
        let mut moved = false;
        if self.outgoing.is_empty() && !self.finished {
            match (&self.socket).read(&mut self.outgoing.bytes) {
                Ok(0) => self.finished = true,
                Ok(count) => {
                    self.outgoing.fill(count);
                    moved = true;
                }
                Err(error) if is_transient(&error) => {}
                Err(error) if is_end(&error) => (self.finished, self.own_gone) = (true, true),
                Err(error) => return Err(error),
            }
        }
        if !self.outgoing.is_empty() {
            match self.ring.write(self.outgoing.left()) {
                Moved::Some(count) => {
                    self.outgoing.take(count);
                    moved = true;
                }
                Moved::Closed => self.peer_gone = true,
                Moved::Wait => {}
            }
        }
        Ok(moved)
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, !self.finished && !self.peer_gone && self.outgoing.is_empty());
        wanted.set(PollFlags::POLLOUT, !self.own_gone && !self.incoming.is_empty());
        let limit = if self.peer_gone { PollTimeout::NONE } else { PollTimeout::from(TICK_MILLIS) };
        // A socket that has hung up and a ring that has closed say so for ever: they are asked once.
        let socket = (!self.own_gone).then(|| PollFd::new(self.socket.as_fd(), wanted));
        let ring = (!self.peer_gone).then(|| PollFd::new(self.ring.events(), PollFlags::POLLIN));
        let has_socket = socket.is_some();
        let mut fds: Vec<PollFd<'_>> = socket.into_iter().chain(ring).collect();
        match poll(&mut fds, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let seen: Vec<PollFlags> =
            fds.iter().map(|fd| fd.revents().unwrap_or_else(PollFlags::empty)).collect();
        drop(fds);
        let (socket, ring) = if has_socket {
            (seen.first().copied(), seen.get(1).copied())
        } else {
            (None, seen.first().copied())
        };
        self.own_gone |=
            socket.is_some_and(|flags| flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR));
        if ring.is_some_and(|flags| !flags.is_empty()) {
            self.ring.silence()?;
        }
        if !self.peer_gone && self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.peer_gone = !self.ring.is_peer_alive();
        }
        Ok(())
    }
}

/// Bytes under way.
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new() -> Self {
        Self { bytes: vec![0; SIZE], start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn left(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn fill(&mut self, count: usize) {
        (self.start, self.end) = (0, count.min(self.bytes.len()));
    }

    fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// As large as the largest ring that qrexec uses.
const SIZE: usize = 65536;
/// How often to look whether the peer's domain lives; upstream's loops do the same (spec/vchan.md 2.6).
const LOOK: Duration = Duration::from_secs(1);
/// How long a peer may let lie what was written before our side closed. Upstream waits for ever.
const LINGER: Duration = Duration::from_secs(30);
/// The same as [`LOOK`] as a limit for a wait.
const TICK_MILLIS: u16 = 1000;

#[cfg(test)]
#[path = "pump_tests.rs"]
mod tests;
