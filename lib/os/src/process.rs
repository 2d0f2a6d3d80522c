//! Which process is meant: a pid alone can be reused, a pid with its start time cannot (within one boot).

use crate::descriptors;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A process by pid and start time (clock ticks since boot, field 22 of /proc/PID/stat, proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// The pid in our own pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start: u64,
}

impl ProcessId {
    /// The process that has this pid now; `None` when there is none.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        Some(Self { pid, start: stat.start })
    }

    /// This very process.
    #[must_use]
    pub fn own() -> Self {
        let pid = nix::unistd::getpid().as_raw();
        Self::of(pid).unwrap_or(Self { pid, start: 0 })
    }

    /// Whether exactly this process still runs. A zombie counts as ended, one that cannot be looked at (no descriptor is free, say)
    /// as alive: what a process has is taken from it only when it is certain that it has ended.
    #[must_use]
    pub fn is_alive(self) -> bool {
        match Stat::look(self.pid) {
            Ok(stat) => stat.start == self.start && !matches!(stat.state, 'Z' | 'X'),
            Err(error) => !is_gone(&error),
        }
    }

    /// A handle that means exactly this process from now on; `None` when it is gone (a zombie is still there).
    ///
    /// # Errors
    /// The kernel's, for example on kernels before 5.3, which lack `pidfd_open(2)`, or when no descriptor is free.
    pub fn open(self) -> io::Result<Option<Handle>> {
        let descriptor = match descriptors::of_process(self.pid) {
            Ok(descriptor) => descriptor,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Read after the descriptor was made: had the pid been reused before, the start time tells.
        let same = Stat::read(self.pid).is_some_and(|stat| stat.start == self.start);
        Ok(same.then_some(Handle { descriptor }))
    }
}

/// A process that cannot be mistaken for a later one with its pid.
#[derive(Debug)]
pub struct Handle {
    descriptor: OwnedFd,
}

impl Handle {
    /// Sends a signal; a process that has ended is no error.
    ///
    /// # Errors
    /// The kernel's, for example that we may not (EPERM).
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match descriptors::signal_process(self.descriptor.as_fd(), signal as i32) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// Waits until the process has ended (as a zombie or entirely), at most for `limit`. Tells whether it has.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            // Rounded up: a wait of 0.4 ms must not become a busy loop.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)], left) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Handle {
    /// Readable once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.pid, self.start)
    }
}

impl FromStr for ProcessId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, start) = text.split_once('@').ok_or(())?;
        Ok(Self { pid: pid.parse().map_err(|_| ())?, start: start.parse().map_err(|_| ())? })
    }
}

/// The fields of /proc/PID/stat that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// One letter: R, S, D, T (stopped), t (traced), Z (zombie), X (dead), I.
    pub state: char,
    /// The parent's pid.
    pub parent: i32,
    /// Start time in clock ticks since boot.
    pub start: u64,
}

impl Stat {
    /// Reads the state of a process; `None` when it is gone, or cannot be looked at.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        Self::look(pid).ok()
    }

    fn look(pid: i32) -> io::Result<Self> {
        let text = crate::read_small(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has other fields"))
    }

    /// Reads the state of one thread of a process; `None` when it is gone.
    #[must_use]
    pub fn read_thread(pid: i32, thread: i32) -> Option<Self> {
        Self::parse(&crate::read_small(format!("/proc/{pid}/task/{thread}/stat")).ok()?)
    }

    /// The second field is the program's name in parentheses and may itself contain blanks and parentheses, so the
    /// fields are counted from the last `)` on.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        let start = fields.nth(17)?.parse().ok()?;
        Some(Self { state, parent, start })
    }
}

/// Opened after its end it is not there; ended between the opening and the reading, it is no such process.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_process_with_any_name_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join(OsStr::from_bytes(b"\xff) Z 1 \xfe("));
        // By a process of its own: what we have open for writing cannot be run, nor while a child of another test has it.
        assert!(std::process::Command::new("cp").arg("/bin/sleep").arg(&program).status().unwrap().success());
        let mut child = std::process::Command::new(program).arg("1000").spawn().unwrap();
        let stat = Stat::read(i32::try_from(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(stat.unwrap().parent, nix::unistd::getpid().as_raw());
    }

    #[test]
    fn own_process_is_alive_and_round_trips() {
        let own = ProcessId::own();
        assert!(own.is_alive());
        assert_eq!(own.to_string().parse(), Ok(own));
        assert!(!ProcessId { start: own.start + 1, ..own }.is_alive());
    }

    #[test]
    fn a_handle_tells_the_end_and_only_of_its_own_process() {
        let mut child = std::process::Command::new("/bin/sleep").arg("1000").spawn().unwrap();
        let process = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(ProcessId { start: process.start + 1, ..process }.open().unwrap().is_none());
        let handle = process.open().unwrap().unwrap();
        assert!(!handle.wait(Duration::from_millis(1)).unwrap());
        handle.signal(Signal::SIGKILL).unwrap();
        assert!(handle.wait(Duration::from_secs(20)).unwrap());
        child.wait().unwrap();
        handle.signal(Signal::SIGKILL).unwrap();
        assert!(process.open().unwrap().is_none());
    }

    #[test]
    fn name_with_parentheses() {
        let stat = Stat::parse("7 (a) b (c)) S 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 42 0").unwrap();
        assert_eq!((stat.state, stat.parent, stat.start), ('S', 3, 42));
    }
}
