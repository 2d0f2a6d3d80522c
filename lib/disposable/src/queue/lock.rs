//! The two locks: one for moving entries, one that says that a keeper lives.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::BorrowedFd;
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

/// Held by the keeper as long as it lives. While nobody holds it, generations cannot be trusted (promise P11).
#[derive(Debug)]
pub struct KeeperLock(#[allow(dead_code, reason = "held, never read")] Flock<File>);

impl KeeperLock {
    /// Becomes the keeper of the queues below `root`. `Ok(None)` when another one lives.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn take(root: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(root)?;
        let file = File::options().create(true).truncate(false).write(true).open(root.join("keeper"))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// Whether a keeper lives.
    #[must_use]
    pub fn is_held(root: &Path) -> bool {
        let Ok(file) = File::open(root.join("keeper")) else { return false };
        matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
    }
}
