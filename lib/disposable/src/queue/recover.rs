//! What a keeper does to a queue that it finds, before it trusts it (promise P5).

use super::counters::Counters;
use super::{Place, Queue};
use nix::fcntl::OFlag;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

impl Queue {
    /// Repairs what a process that was killed anywhere may have left: temporary files, and counters behind the files.
    ///
    /// # Errors
    /// The lock cannot be had in time, or a directory cannot be read.
    pub fn recover(&self) -> io::Result<()> {
        self.sweep()?;
        self.recount()
    }

    /// Compares what a template is like now with what it was like when its generation began; if that differs, or is not
    /// known, every waiting disposable is stale. Returns whether it was so.
    ///
    /// # Errors
    /// As [`Self::bump_generation`].
    pub fn refresh(&self, fingerprint: &str) -> io::Result<bool> {
        let same = self.stored_fingerprint()?.is_some_and(|stored| stored == fingerprint);
        if !same {
            // In this order: whoever dies in between makes them stale once more, never once less.
            self.bump_generation()?;
            self.store_fingerprint(fingerprint)?;
        }
        Ok(!same)
    }

    /// Notes what a template is like, after its generation was bumped.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the file cannot be written.
    pub fn store_fingerprint(&self, fingerprint: &str) -> io::Result<()> {
        let _lock = self.lock()?;
        self.write_file("fingerprint", fingerprint)
    }

    fn stored_fingerprint(&self) -> io::Result<Option<String>> {
        let mut text = String::new();
        match self.open_file("fingerprint", OFlag::O_RDONLY) {
            Ok(file) => file.take(LONGEST_FINGERPRINT).read_to_string(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(text))
    }

    /// Sets HEAD and TAIL from what lies in `ready/`. For the keeper's start, when a crash may have left the counters
    /// behind the files.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the directory cannot be read.
    pub fn recount(&self) -> io::Result<()> {
        let lock = self.lock()?;
        let mut counters = Counters::read(&lock)?;
        for file in self.files(Place::Ready)? {
            if let Ok(number) = file.parse::<u64>() {
                counters.head = counters.head.min(number);
                counters.tail = counters.tail.max(number + 1);
            }
        }
        counters.write(&lock)
    }

    /// Files written beside their place are made and renamed under the lock: those seen while holding it are nobody's.
    fn sweep(&self) -> io::Result<()> {
        let _lock = self.lock()?;
        for file in self.files_of(".")?.into_iter().filter(|file| file.ends_with(FRESH)) {
            match nix::unistd::unlinkat(self.dir(), file.as_str(), nix::unistd::UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(nix::Error::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Whether the queues below `root` were left by another boot of the machine: then no process and no domain that they
/// name lives, whatever has their numbers now.
///
/// # Errors
/// A file cannot be read.
pub fn is_of_another_boot(root: &Path) -> io::Result<bool> {
    match fs::read_to_string(root.join("boot")) {
        Ok(noted) => Ok(noted != fs::read_to_string(BOOT_ID)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Notes this boot, after everything that an earlier one left was sent to be destroyed.
///
/// # Errors
/// The file cannot be written.
pub fn note_boot(root: &Path) -> io::Result<()> {
    let fresh = root.join("boot.new");
    fs::write(&fresh, fs::read_to_string(BOOT_ID)?)?;
    fs::rename(fresh, root.join("boot"))
}

const FRESH: &str = ".new";
/// In bytes; the properties of a qube have about 4 KiB.
const LONGEST_FINGERPRINT: u64 = 1 << 20;
/// Changes with every boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
