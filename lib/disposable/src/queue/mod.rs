//! The queue of one template: a directory that `ls` and `cat` can read, and the whole protocol between the service
//! executables and the keeper.
//!
//! ```text
//! QUEUE/keeper                      locked by the living keeper while generations can be trusted
//! QUEUE/keeper.sole                 locked by the living keeper
//! QUEUE/boot                        the boot of the machine that the queues are of
//! QUEUE/TEMPLATE/lock               locked by whoever moves entries; holds the counters "HEAD TAIL"
//! QUEUE/TEMPLATE/generation         the template's generation
//! QUEUE/TEMPLATE/fingerprint        what the template was like when its generation began
//! QUEUE/TEMPLATE/failure            why the last start failed, if none has succeeded since
//! QUEUE/TEMPLATE/starting/LABEL     room reserved for one that is being made
//! QUEUE/TEMPLATE/ready/NUMBER       started, checked, paused; first in, first out
//! QUEUE/TEMPLATE/claimed/NAME       taken by a call, not yet handed over
//! QUEUE/TEMPLATE/claimed/LABEL      a call waits for it, or creates it itself
//! QUEUE/TEMPLATE/used/NAME          handed over
//! QUEUE/TEMPLATE/done/NAME          to be destroyed
//! ```
//!
//! An entry moves down this list by one rename under the lock, never up (promise P2). A call that finds none ready moves
//! the oldest `starting/LABEL` to `claimed/LABEL`: then the keeper hands it over running; one that finds none starting notes
//! `claimed/LABEL` before it creates its own. The kernel frees the lock when
//! its holder dies. HEAD and TAIL are hints that keep a claim as quick at 1,024 entries as at one: a claim opens
//! `ready/HEAD` directly and steps over gaps; a crash between a rename and the counters' update leaves just a gap.

mod claim;
mod counters;
mod failure;
mod lock;
mod place;
mod recover;
mod reserved;
mod room;
mod wanted;

pub use claim::{Claim, Claimed, Discarded};
pub use failure::StartFailure;
pub use lock::{KeeperLock, LockError, SoleKeeper};
pub use place::{Listed, Place};
pub use recover::{is_of_another_boot, note_boot};
pub use reserved::{ClaimOrReserved, Outcome, Reserved};
pub use room::{Reservation, Standing};
pub use wanted::Wanted;

use lock::QueueLock;
use names::{Generation, QubeName};
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The queue of one disposable template.
#[derive(Debug)]
pub struct Queue {
    directory: OwnedFd,
    lock_wait: Duration,
}

impl Queue {
    /// Opens the queue of `template` below `root`. `Ok(None)` when the keeper has not made one.
    ///
    /// `lock_wait` bounds how long any call waits for the lock.
    ///
    /// # Errors
    /// The directory exists and cannot be opened.
    pub fn open(root: &Path, template: &QubeName, lock_wait: Duration) -> io::Result<Option<Self>> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        match open(&root.join(template.as_str()), flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Self { directory, lock_wait })),
            Err(nix::Error::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens the queue of `template`, making its directory and places first. For the keeper.
    ///
    /// # Errors
    /// A directory or file cannot be made.
    pub fn create(root: &Path, template: &QubeName, lock_wait: Duration) -> io::Result<Self> {
        let directory = root.join(template.as_str());
        for place in Place::ALL {
            fs::create_dir_all(directory.join(place.as_str()))?;
        }
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the queue vanished while it was made");
        let queue = Self::open(root, template, lock_wait)?.ok_or_else(missing)?;
        queue.open_file("lock", OFlag::O_RDWR | OFlag::O_CREAT)?;
        Ok(queue)
    }

    /// The templates that have a queue below `root`, in the order of their names.
    ///
    /// # Errors
    /// `root` exists and cannot be read.
    pub fn templates(root: &Path) -> io::Result<Vec<QubeName>> {
        let entries = match fs::read_dir(root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut templates = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                templates.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
            }
        }
        templates.sort();
        Ok(templates)
    }

    /// The template's generation; 0 until it was bumped for the first time.
    ///
    /// # Errors
    /// The file cannot be read or holds no number.
    pub fn generation(&self) -> io::Result<Generation> {
        match self.read_file("generation") {
            Ok(text) => text.trim().parse().map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Generation(0)),
            Err(error) => Err(error),
        }
    }

    /// Makes every waiting disposable stale. Returns the new generation.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the file cannot be written.
    pub fn bump_generation(&self) -> io::Result<Generation> {
        let _lock = self.lock()?;
        let next = Generation(self.generation()?.0 + 1);
        self.write_file("generation", &next.to_string())?;
        Ok(next)
    }

    fn lock(&self) -> Result<QueueLock, LockError> {
        QueueLock::take(self.directory.as_fd(), self.lock_wait)
    }

    fn dir(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    fn open_file(&self, path: &str, flags: OFlag) -> io::Result<fs::File> {
        let mode = Mode::from_bits_truncate(0o660);
        Ok(fs::File::from(openat(self.dir(), path, flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, mode)?))
    }

    fn read_file(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        let longest = u64::try_from(crate::entry::LONGEST).unwrap_or(u64::MAX);
        self.open_file(path, OFlag::O_RDONLY)?.take(longest).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Replaces a file: written beside the places, then renamed over it. Under the lock only.
    fn write_file(&self, path: &str, text: &str) -> io::Result<()> {
        let fresh = format!("{}.new", path.rsplit('/').next().unwrap_or(path));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        io::Write::write_all(&mut self.open_file(&fresh, flags)?, text.as_bytes())?;
        self.rename(&fresh, path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(nix::fcntl::renameat(self.dir(), from, self.dir(), to)?)
    }
}

/// The path of the directory that the keeper watches for moves of `place`.
#[must_use]
pub fn place_path(root: &Path, template: &QubeName, place: Place) -> PathBuf {
    root.join(template.as_str()).join(place.as_str())
}
