//! The keeper's side: reserve room, then put a disposable into the queue.

use super::counters::{Counters, file_name};
use super::{Place, Queue};
use crate::entry::Entry;
use nix::fcntl::OFlag;
use std::io;

/// Room for one disposable that is being made: a file in `starting/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The file's name.
    pub label: String,
}

impl Queue {
    /// Reserves room under the lock that serves claims (promise P4), before anything is created.
    /// `Ok(None)` when starting and ready ones together fill `max`.
    ///
    /// # Errors
    /// The lock cannot be had in time, or a file cannot be made.
    pub fn reserve(&self, label: &str, max: usize) -> io::Result<Option<Reservation>> {
        let _lock = self.lock()?;
        if self.count(Place::Starting)? + self.count(Place::Ready)? >= max {
            return Ok(None);
        }
        self.open_file(&format!("starting/{label}"), OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        Ok(Some(Reservation { label: label.to_owned() }))
    }

    /// Notes which disposable is being made for a reservation, so that it is found after a crash.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&self, reservation: &Reservation, entry: &Entry) -> io::Result<()> {
        // Written beside the place, so that no half-written file counts as a reservation.
        let fresh = format!("{}.new", reservation.label);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC;
        io::Write::write_all(&mut self.open_file(&fresh, flags)?, entry.to_string().as_bytes())?;
        self.rename(&fresh, &format!("starting/{}", reservation.label))
    }

    /// Puts the noted, now paused disposable at the end of the queue. `Ok(false)` when the reservation is gone: then
    /// somebody discarded it, and its disposable is not to be handed out.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the rename fails.
    pub fn enqueue(&self, reservation: &Reservation) -> io::Result<bool> {
        let lock = self.lock()?;
        let mut counters = Counters::read(&lock)?;
        counters = self.with_room_at_tail(counters)?;
        let to = format!("ready/{}", file_name(counters.tail));
        match self.rename(&format!("starting/{}", reservation.label), &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        counters.tail += 1;
        counters.write(&lock)?;
        Ok(true)
    }

    /// After a crash between rename and counters TAIL may name a file that exists: never rename over it.
    fn with_room_at_tail(&self, mut counters: Counters) -> io::Result<Counters> {
        while self.exists(&format!("ready/{}", file_name(counters.tail)))? {
            counters.tail += 1;
        }
        Ok(counters)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        match nix::sys::stat::fstatat(self.dir(), path, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(nix::Error::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
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
}
