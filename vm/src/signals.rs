//! Waiting for signals, descriptors and threads in one place.

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The signals that end us, and the end of children, as something that can be polled.
///
/// A signal that was ignored when we were started (`nohup`, background jobs of a shell) stays ignored.
pub(crate) struct Signals {
    bell: UnixStream,
    ring: UnixStream,
    caught: Arc<AtomicUsize>,
    /// The signals that are not ignored.
    ending: Vec<i32>,
}

impl Signals {
    /// To be called once in a process, in its first thread, before any child is started. A mask that blocks these signals
    /// is inherited by programs and would make us deaf: it is lifted.
    pub(crate) fn install() -> io::Result<Self> {
        let caught = Arc::new(AtomicUsize::new(0));
        let ignored = ignored_signals();
        let ending = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
        let ending: Vec<_> = ending.into_iter().filter(|signal| ignored & 1 << (signal - 1) == 0).collect();
        for &signal in &ending {
            flag::register_usize(signal, Arc::clone(&caught), usize::try_from(signal).unwrap_or(1))?;
        }
        let ours = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGCHLD];
        ours.into_iter().collect::<SigSet>().thread_unblock()?;
        Self::with_bell(caught, ending)
    }

    /// The same for another thread: every signal is heard by all of them.
    pub(crate) fn for_another_thread(&self) -> io::Result<Self> {
        Self::with_bell(Arc::clone(&self.caught), self.ending.clone())
    }

    fn with_bell(caught: Arc<AtomicUsize>, ending: Vec<i32>) -> io::Result<Self> {
        let (bell, ring) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        // After the flags: who is woken by a signal finds it caught.
        for &signal in ending.iter().chain([&SIGCHLD]) {
            pipe::register(signal, ring.try_clone()?)?;
        }
        Ok(Self { bell, ring, caught, ending })
    }

    /// The last signal that asked us to end.
    pub(crate) fn caught(&self) -> Option<i32> {
        i32::try_from(self.caught.load(Ordering::SeqCst)).ok().filter(|&signal| signal != 0)
    }

    /// Something by which a thread ends a [`Self::wait`] early.
    pub(crate) fn waker(&self) -> io::Result<Waker> {
        Ok(Waker(self.ring.try_clone()?))
    }

    /// Waits until a signal came, a waker was used, one of `others` has news or the time is over. The result tells the
    /// news of each of `others`; waking for nothing is possible.
    pub(crate) fn wait(
        &self,
        others: &[(BorrowedFd<'_>, PollFlags)],
        timeout: Option<Duration>,
    ) -> io::Result<Vec<PollFlags>> {
        let mut all = vec![PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        all.extend(others.iter().map(|&(descriptor, events)| PollFd::new(descriptor, events)));
        match poll(&mut all, poll_timeout(timeout)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(vec![PollFlags::empty(); others.len()]),
            Err(error) => return Err(error.into()),
        }
        let mut rings = [0; 64];
        while matches!((&self.bell).read(&mut rings), Ok(count) if count == rings.len()) {}
        let news = all.iter().skip(1).map(|polled| polled.revents().unwrap_or(PollFlags::POLLERR));
        Ok(news.collect())
    }
}

pub(crate) struct Waker(UnixStream);

impl Waker {
    pub(crate) fn wake(&self) {
        if (&self.0).write_all(b"w").is_err() {
            // The bell is gone with the process that would have heard it.
        }
    }
}

/// Whole milliseconds, rounded up, so that a short wait does not become a busy one.
fn poll_timeout(timeout: Option<Duration>) -> PollTimeout {
    let Some(timeout) = timeout else { return PollTimeout::NONE };
    let milliseconds = timeout.as_micros().div_ceil(1000);
    PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
}

/// The set of signals that are ignored, bit n - 1 for signal n (proc(5), SigIgn).
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

/// Whether nobody is left at the other end of a pipe or socket.
pub(crate) fn is_hung_up(news: PollFlags) -> bool {
    news.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
}

/// Sends a signal to one process; that it may be gone already does not matter.
pub(crate) fn send(pid: libc::pid_t, signal: Signal) {
    if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).is_err() {
        // Gone already, or not ours to end.
    }
}
