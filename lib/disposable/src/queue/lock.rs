//! The two locks: one for moving entries, one that says that a keeper lives.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// Held while entries move. The kernel frees it when the holder closes it or dies.
#[derive(Debug)]
pub(super) struct QueueLock(Flock<File>);

/// Why the lock was not had.
#[derive(Debug)]
pub enum LockError {
    /// Somebody held it for longer than the bound.
    Timeout(Duration),
    /// The file cannot be opened or locked.
    Io(io::Error),
}

impl QueueLock {
    /// Takes the lock, waiting at most `wait`. Free locks cost one system call; only contention costs a thread, which
    /// is how a bounded wait for flock(2) goes without polling.
    pub(super) fn take(directory: BorrowedFd<'_>, wait: Duration) -> Result<Self, LockError> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = File::from(openat(directory, "lock", flags, Mode::empty()).map_err(LockError::errno)?);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self(lock)),
            Err((file, Errno::EWOULDBLOCK)) => Self::wait(file, wait),
            Err((_, error)) => Err(LockError::errno(error)),
        }
    }

    fn wait(file: File, wait: Duration) -> Result<Self, LockError> {
        let (sender, receiver) = mpsc::sync_channel(0);
        let waiter = move || {
            let result = Flock::lock(file, FlockArg::LockExclusive).map(Self).map_err(|(_, error)| error);
            // When nobody waits any more the lock comes back in the error and is freed by its drop.
            drop(sender.send(result));
        };
        std::thread::Builder::new().name("queue-lock".into()).spawn(waiter).map_err(LockError::Io)?;
        match receiver.recv_timeout(wait) {
            Ok(result) => result.map_err(LockError::errno),
            Err(_) => Err(LockError::Timeout(wait)),
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.0
    }
}

impl LockError {
    fn errno(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(wait) => {
                write!(f, "the queue's lock was held by another for over {} ms", wait.as_millis())
            }
            Self::Io(error) => write!(f, "the queue's lock: {error}"),
        }
    }
}

impl std::error::Error for LockError {}

impl From<LockError> for io::Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Timeout(_) => Self::new(io::ErrorKind::TimedOut, error),
            LockError::Io(error) => error,
        }
    }
}

/// Held by the keeper for all its life, so that there is one.
#[derive(Debug)]
pub struct SoleKeeper(#[allow(dead_code, reason = "held, never read")] Flock<File>);

impl SoleKeeper {
    /// Becomes the keeper of the queues below `root`. `Ok(None)` when another one lives.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn take(root: &Path) -> io::Result<Option<Self>> {
        Ok(exclusive(root, "keeper.sole")?.map(Self))
    }
}

fn exclusive(root: &Path, name: &str) -> io::Result<Option<Flock<File>>> {
    fs::create_dir_all(root)?;
    let file = File::options().create(true).truncate(false).write(true).open(root.join(name))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Held by the keeper while it hears of every change. While nobody holds it, generations cannot be trusted
/// (promise P11). Its file says when the keeper last looked around: one that is stuck hears of nothing.
#[derive(Debug)]
pub struct KeeperLock(Flock<File>);

impl KeeperLock {
    /// Says that the queues below `root` can be trusted. `Ok(None)` when another keeper says so.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn take(root: &Path) -> io::Result<Option<Self>> {
        let Some(lock) = exclusive(root, "keeper")?.map(Self) else { return Ok(None) };
        lock.beat()?;
        Ok(Some(lock))
    }

    /// Says that the keeper looks around now.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn beat(&self) -> io::Result<()> {
        self.0.write_all_at(format!("{:020}\n", os::monotonic_ns()).as_bytes(), 0)
    }

    /// Whether a keeper lives, and has looked around not too long ago.
    #[must_use]
    pub fn is_held(root: &Path) -> bool {
        let Ok(mut file) = File::open(root.join("keeper")) else { return false };
        let mut text = [0; 20];
        if file.read_exact(&mut text).is_err() {
            return false;
        }
        let looked = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        os::monotonic_ns().saturating_sub(looked) < LONGEST_SILENCE_NS
            && matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    }
}

/// A keeper looks around every 30 s even if nothing happens; one that missed that twice is stuck.
const LONGEST_SILENCE_NS: u64 = 75_000_000_000;
