//! The keeper's side: reserve room, say what is being made for it, then put it into the queue or hand it over.

use super::counters::{Counters, file_name};
use super::{Place, Queue};
use crate::entry::{AWAKE, Entry, claimer_of};
use nix::fcntl::OFlag;
use os::process::ProcessId;
use std::io;

/// Room for one disposable that is being made: a file in `starting/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The file's name.
    pub label: String,
}

/// What has become of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has asked for it yet.
    Waiting,
    /// A call waits for it: it is to be handed over as soon as it can be called, without check, squeeze and pause.
    Reserved(ProcessId),
    /// It was taken away: its disposable is to be destroyed.
    Gone,
}

impl Reservation {
    /// A new label for `starter`, made at `now` (nanoseconds of the monotonic clock): labels sort by age.
    #[must_use]
    pub fn label(starter: ProcessId, now: u64) -> String {
        format!("{now:020}-{starter}")
    }

    /// The process that makes the disposable of a label; `None` when the label is none of ours.
    #[must_use]
    pub fn starter(label: &str) -> Option<ProcessId> {
        label.split_once('-')?.1.parse().ok()
    }
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

    /// What has become of a reservation. Without the lock: a picture that may already be old.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn standing(&self, reservation: &Reservation) -> io::Result<Standing> {
        for place in [Place::Starting, Place::Claimed] {
            match self.read_file(&path(place, reservation)) {
                Ok(text) if place == Place::Claimed => {
                    return Ok(claimer_of(&text).map_or(Standing::Gone, Standing::Reserved));
                }
                Ok(_) => return Ok(Standing::Waiting),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Standing::Gone)
    }

    /// Notes which disposable is being made for a reservation, so that it is found after a crash.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the file cannot be written.
    pub fn note(&self, reservation: &Reservation, entry: &Entry) -> io::Result<Standing> {
        self.update(reservation, entry, "")
    }

    /// Hands a running disposable over to the call that reserved it. Nothing is handed over unless the result is
    /// [`Standing::Reserved`].
    ///
    /// # Errors
    /// As [`Self::note`].
    pub fn hand_over(&self, reservation: &Reservation, entry: &Entry) -> io::Result<Standing> {
        self.update(reservation, entry, AWAKE)
    }

    fn update(&self, reservation: &Reservation, entry: &Entry, mark: &str) -> io::Result<Standing> {
        let _lock = self.lock()?;
        let standing = self.standing(reservation)?;
        let (place, text) = match standing {
            Standing::Gone => return Ok(standing),
            Standing::Waiting => (Place::Starting, entry.to_string()),
            Standing::Reserved(claimer) if mark.is_empty() => {
                (Place::Claimed, Entry { claimer: Some(claimer), ..entry.clone() }.to_string())
            }
            Standing::Reserved(claimer) => {
                let entry = Entry { claimer: Some(claimer), ..entry.clone() };
                (Place::Claimed, format!("{entry}{mark}\n"))
            }
        };
        self.write_file(&path(place, reservation), &text)?;
        Ok(standing)
    }

    /// Puts the noted, now paused disposable at the end of the queue. `Ok(false)` when the reservation does not wait any
    /// more: [`Self::standing`] tells whether a call reserved it or it was taken away.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the rename fails.
    pub fn enqueue(&self, reservation: &Reservation) -> io::Result<bool> {
        let lock = self.lock()?;
        let mut counters = Counters::read(&lock)?;
        counters = self.with_room_at_tail(counters)?;
        let to = format!("ready/{}", file_name(counters.tail));
        match self.rename(&path(Place::Starting, reservation), &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
        counters.tail += 1;
        counters.write(&lock)?;
        Ok(true)
    }

    /// Gives a reservation up, whoever waits for it: its disposable, if it has one, is to be destroyed.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the rename fails.
    pub fn abandon(&self, reservation: &Reservation) -> io::Result<()> {
        for place in [Place::Starting, Place::Claimed] {
            if self.discard(place, &reservation.label)? {
                break;
            }
        }
        Ok(())
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
}

fn path(place: Place, reservation: &Reservation) -> String {
    format!("{}/{}", place.as_str(), reservation.label)
}
