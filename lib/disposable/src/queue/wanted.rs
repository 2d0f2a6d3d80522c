//! A disposable that a call creates for itself: noted before it exists, so that none is leaked (promise P5).

use super::{Claimed, Queue, Reservation};
use crate::entry::Entry;
use nix::fcntl::OFlag;
use os::process::ProcessId;
use std::io::{self, Write};

/// That a call is about to create a disposable. Dropped, the keeper looks whether one was created.
#[derive(Debug)]
pub struct Wanted<'a> {
    queue: &'a Queue,
    label: String,
    settled: bool,
}

impl Queue {
    /// Notes among the claimed ones that `claimer` is about to create a disposable of this template; `now` is in nanoseconds
    /// of the monotonic clock. Nobody else is concerned, so no lock is taken.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn want(&self, claimer: ProcessId, now: u64) -> io::Result<Wanted<'_>> {
        let label = Reservation::label(claimer, now);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut file = self.open_file(&format!("claimed/{label}"), flags)?;
        let wanted = Wanted { queue: self, label, settled: false };
        file.write_all(Entry::claimer_line(claimer).as_bytes())?;
        Ok(wanted)
    }
}

impl<'a> Wanted<'a> {
    /// Notes which one it is; the keeper destroys it, even should this process die.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the file cannot be written.
    pub fn became(mut self, entry: Entry) -> io::Result<Claimed<'a>> {
        let _lock = self.queue.lock()?;
        self.queue.write_file(&self.path(), &entry.to_string())?;
        self.settled = true;
        Ok(self.queue.claimed(entry, self.label.clone()))
    }

    /// None was created, for certain.
    pub fn forget(mut self) {
        self.settled = true;
        if let Err(error) = self.queue.forget(super::Place::Claimed, &self.label) {
            log::warn!("cannot remove {}: {error}; the keeper will", self.label);
        }
    }

    fn path(&self) -> String {
        format!("claimed/{}", self.label)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if let Err(error) = self.queue.rename(&self.path(), &format!("done/{}", self.label)) {
            log::warn!("cannot give up {}: {error}; the keeper will find it", self.label);
        }
    }
}
