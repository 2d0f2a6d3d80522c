//! The caller's side: take the oldest ready disposable, then say how far the call has come.

use super::counters::{Counters, file_name};
use super::lock::QueueLock;
use super::{LockError, Place, Queue};
use crate::entry::Entry;
use names::{Generation, QubeName};
use nix::fcntl::OFlag;
use os::process::ProcessId;
use std::fs::File;
use std::io::{self, Read, Write};

/// What a claim found.
#[derive(Debug)]
pub struct Claim<'a> {
    /// The disposable that now belongs to the caller; `None` when none was ready.
    pub claimed: Option<Claimed<'a>>,
    /// Entries that were passed over and sent to be destroyed.
    pub discarded: Vec<Discarded>,
}

/// An entry that must not be handed out, moved to `done/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// The disposable, or the file's name when the file is unreadable.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A disposable that belongs to this process alone (promise P1).
///
/// Dropped without [`Claimed::done`], it goes to be destroyed all the same; it never returns to the queue (promise P2).
#[derive(Debug)]
pub struct Claimed<'a> {
    queue: &'a Queue,
    entry: Entry,
    place: Place,
    file: String,
}

impl Queue {
    /// Takes the oldest ready disposable for `claimer`. Two system calls for the lock, about six for the claim,
    /// whatever the length of the queue; no directory is read.
    ///
    /// # Errors
    /// The lock cannot be had in time, or a rename fails: the caller then starts cold.
    pub fn claim(&self, claimer: ProcessId) -> Result<Claim<'_>, LockError> {
        let lock = self.lock()?;
        self.claim_under(&lock, claimer).map_err(LockError::Io)
    }

    pub(super) fn claim_under(&self, lock: &QueueLock, claimer: ProcessId) -> io::Result<Claim<'_>> {
        let generation = self.generation()?;
        let mut counters = Counters::read(lock)?;
        let mut discarded = Vec::new();
        let mut claimed = None;
        while claimed.is_none() && counters.head < counters.tail {
            match self.take(&file_name(counters.head), generation, claimer)? {
                Taken::Gap => {}
                Taken::Discarded(entry) => discarded.push(entry),
                Taken::Entry(entry) => {
                    let file = entry.name.to_string();
                    claimed = Some(self.claimed(entry, file));
                }
            }
            counters.head += 1;
        }
        counters.write(lock)?;
        Ok(Claim { claimed, discarded })
    }

    fn take(&self, file: &str, current: Generation, claimer: ProcessId) -> io::Result<Taken> {
        let from = format!("ready/{file}");
        let mut opened = match self.open_file(&from, OFlag::O_RDWR | OFlag::O_APPEND) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Gap),
            Err(error) => return Err(error),
        };
        let entry = match usable(&mut opened, current) {
            Ok(entry) => entry,
            Err(discarded) => {
                let discarded = discarded.unwrap_or_else(|| Discarded {
                    name: file.to_owned(),
                    reason: "its file in the queue cannot be read".into(),
                });
                self.rename(&from, &format!("done/{}", discarded.name))?;
                return Ok(Taken::Discarded(discarded));
            }
        };
        // The claimer is noted before the move: whoever dies in between leaves an entry that says that it was touched.
        opened.write_all(Entry::claimer_line(claimer).as_bytes())?;
        self.rename(&from, &format!("claimed/{}", entry.name))?;
        Ok(Taken::Entry(Entry { claimer: Some(claimer), ..entry }))
    }

    /// What lies as `claimed/FILE` and belongs to this process.
    pub(super) fn claimed(&self, entry: Entry, file: String) -> Claimed<'_> {
        Claimed { queue: self, entry, place: Place::Claimed, file }
    }
}

enum Taken {
    Gap,
    Discarded(Discarded),
    Entry(Entry),
}

fn usable(file: &mut File, current: Generation) -> Result<Entry, Option<Discarded>> {
    let mut text = String::with_capacity(crate::entry::LONGEST);
    let longest = u64::try_from(crate::entry::LONGEST).unwrap_or(u64::MAX);
    file.take(longest).read_to_string(&mut text).map_err(|_| None)?;
    let entry = Entry::parse(&text).ok_or(None)?;
    let refuse = |reason: String| Err(Some(Discarded { name: entry.name.to_string(), reason }));
    if entry.claimer.is_some() {
        return refuse("another call had begun to claim it".into());
    }
    if entry.generation != current {
        let (made, now) = (entry.generation, current);
        return refuse(format!("its template has changed since it was made (generation {made}, now {now})"));
    }
    Ok(entry)
}

impl Claimed<'_> {
    /// What was claimed.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &QubeName {
        &self.entry.name
    }

    /// Says that the hand-over has happened: the keeper may refill. One rename; never waits (promise P6).
    pub fn used(&mut self) {
        self.shift(Place::Used);
    }

    /// Says that the call has ended: the keeper destroys the disposable. One rename; never waits (promise P6).
    pub fn done(mut self) {
        self.shift(Place::Done);
    }

    /// Says that the disposable is gone already: there is nothing to destroy.
    pub fn ended(mut self) {
        match self.queue.forget(self.place, &self.file) {
            // Nothing is left to be moved when this is dropped.
            Ok(()) => self.place = Place::Done,
            Err(error) => log::warn!("cannot remove {}: {error}; the keeper will", self.file),
        }
    }

    /// The file belongs to this process alone, so no lock is needed. A rename that fails leaves the file where it is,
    /// with a claimer that is soon dead: the keeper's next pass destroys the disposable all the same.
    fn shift(&mut self, to: Place) {
        if self.place == to {
            return;
        }
        let from = format!("{}/{}", self.place.as_str(), self.file);
        let onto = format!("{}/{}", to.as_str(), self.entry.name);
        if let Err(error) = self.queue.rename(&from, &onto) {
            log::warn!("cannot move {from} to {onto}: {error}; the keeper will find it");
        }
        self.place = to;
        self.file = self.entry.name.to_string();
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.shift(Place::Done);
    }
}
