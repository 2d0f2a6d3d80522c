//! The caller's side when none is ready: reserve the oldest one that is starting, then wait for it, bounded (M2).

use super::{Claim, Claimed, LockError, Place, Queue, Reservation};
use crate::entry::{Entry, is_awake};
use nix::fcntl::OFlag;
use nix::sys::inotify::AddWatchFlags;
use os::process::ProcessId;
use os::watch::Watch;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a call got that was ready to wait.
#[derive(Debug)]
pub enum ClaimOrReserved<'a> {
    /// Something was ready, or nothing was even starting; as for [`Queue::claim`].
    Claim(Claim<'a>),
    /// One that is starting; nobody else gets it.
    Reserved(Reserved<'a>),
}

/// A disposable that is starting and belongs to this process alone (promise P1). Dropped, it goes to be destroyed.
#[derive(Debug)]
pub struct Reserved<'a> {
    queue: &'a Queue,
    label: String,
    settled: bool,
}

/// How a wait for a starting disposable ended.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// It runs and can be called.
    Awake(Claimed<'a>),
    /// It failed, or took too long, or is stale by now; it is on its way to be destroyed. Why.
    Failed(String),
}

impl Queue {
    /// Takes the oldest ready disposable; if there is none, reserves the oldest one that is starting. Both under one lock,
    /// so that none becomes ready in between.
    ///
    /// # Errors
    /// The lock cannot be had in time, or a file cannot be moved: the caller then starts cold.
    pub fn claim_or_reserve(&self, claimer: ProcessId) -> Result<ClaimOrReserved<'_>, LockError> {
        let lock = self.lock()?;
        let claim = self.claim_under(&lock, claimer).map_err(LockError::Io)?;
        if claim.claimed.is_some() || !claim.discarded.is_empty() {
            return Ok(ClaimOrReserved::Claim(claim));
        }
        match self.reserve_oldest(claimer).map_err(LockError::Io)? {
            Some(reserved) => Ok(ClaimOrReserved::Reserved(reserved)),
            None => Ok(ClaimOrReserved::Claim(claim)),
        }
    }

    fn reserve_oldest(&self, claimer: ProcessId) -> io::Result<Option<Reserved<'_>>> {
        let mut labels = self.files(Place::Starting)?;
        // Labels begin with the time, so the first is the oldest.
        labels.sort();
        for label in labels {
            // A start whose keeper died will never be handed over.
            if Reservation::starter(&label).is_some_and(|starter| !starter.is_alive()) {
                continue;
            }
            let from = format!("starting/{label}");
            let mut file = self.open_file(&from, OFlag::O_WRONLY | OFlag::O_APPEND)?;
            file.write_all(Entry::claimer_line(claimer).as_bytes())?;
            self.rename(&from, &format!("claimed/{label}"))?;
            return Ok(Some(Reserved { queue: self, label, settled: false }));
        }
        Ok(None)
    }
}

impl<'a> Reserved<'a> {
    /// The label of the reservation.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Waits until the disposable runs, its start fails, its keeper dies, or `bound` is over.
    ///
    /// # Errors
    /// The directory cannot be watched; the disposable is then on its way to be destroyed.
    pub fn wait(mut self, bound: Duration) -> io::Result<Outcome<'a>> {
        let until = Instant::now() + bound;
        let place = format!("/proc/self/fd/{}/claimed", self.queue.dir().as_raw_fd());
        let changes = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_DELETE;
        let moves = Watch::on(Path::new(&place), changes);
        loop {
            if let Some(outcome) = self.try_wait()? {
                return Ok(outcome);
            }
            let left = until.saturating_duration_since(Instant::now());
            let reason = if left.is_zero() {
                Some(format!("it did not start within {} s", bound.as_secs()))
            } else if Reservation::starter(&self.label).is_some_and(|starter| !starter.is_alive()) {
                Some("the keeper that was starting it died".to_owned())
            } else {
                None
            };
            if let Some(reason) = reason {
                return self.give_up(reason);
            }
            moves.wait(left.min(STARTER_LOOK))?;
        }
    }

    /// What has become of it; `None` while it is still starting. Never waits.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn try_wait(&mut self) -> io::Result<Option<Outcome<'a>>> {
        let text = match self.queue.read_file(&self.path()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.settled = true;
                return Ok(Some(Outcome::Failed("it could not be started".into())));
            }
            Err(error) => return Err(error),
        };
        let Some(entry) = Entry::parse(&text).filter(|_| is_awake(&text)) else { return Ok(None) };
        self.settled = true;
        let current = self.queue.generation()?;
        let claimed = self.queue.claimed(entry, self.label.clone());
        if claimed.entry().generation != current {
            return Ok(Some(Outcome::Failed("its template changed while it started".into())));
        }
        Ok(Some(Outcome::Awake(claimed)))
    }

    /// Under the lock, so that it cannot be handed over at the same moment.
    fn give_up(&mut self, reason: String) -> io::Result<Outcome<'a>> {
        let _lock = self.queue.lock();
        if let Some(outcome) = self.try_wait()? {
            return Ok(outcome);
        }
        self.let_go();
        Ok(Outcome::Failed(reason))
    }

    fn let_go(&mut self) {
        self.settled = true;
        if let Err(error) = self.queue.rename(&self.path(), &format!("done/{}", self.label)) {
            log::warn!("cannot give up {}: {error}; the keeper will find it", self.label);
        }
    }

    fn path(&self) -> String {
        format!("claimed/{}", self.label)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.let_go();
        }
    }
}

/// How often a waiting call looks whether the keeper still lives: its death moves no file.
const STARTER_LOOK: Duration = Duration::from_millis(250);
