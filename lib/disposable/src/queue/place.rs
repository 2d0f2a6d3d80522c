//! The places of a queue and what lies in them.

use super::{Queue, Reservation};
use crate::entry::{Entry, claimer_of};
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use os::process::ProcessId;
use std::io;

/// Where an entry is; it only ever moves to a later place (promise P2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Room reserved; the disposable is being made.
    Starting,
    /// Started, checked and paused.
    Ready,
    /// Taken by a call.
    Claimed,
    /// Handed over.
    Used,
    /// To be destroyed.
    Done,
}

impl Place {
    /// All places in their order.
    pub const ALL: [Self; 5] = [Self::Starting, Self::Ready, Self::Claimed, Self::Used, Self::Done];

    /// The name of the directory.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Claimed => "claimed",
            Self::Used => "used",
            Self::Done => "done",
        }
    }
}

/// One file of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The file's name.
    pub file: String,
    /// What it says; `None` when it cannot be read as an entry (for example a reservation that has no qube yet). In
    /// `done/` a damaged one is read as far as it goes.
    pub entry: Option<Entry>,
    /// Who claimed it; a reservation may be claimed before it has a qube. Every claimed one has a claimer at every moment.
    pub claimer: Option<ProcessId>,
}

impl Queue {
    /// What lies in a place, in the order of file names. Taken without the lock: a picture that may already be old.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self, place: Place) -> io::Result<Vec<Listed>> {
        let mut files = self.files(place)?;
        files.sort();
        let mut listed = Vec::with_capacity(files.len());
        for file in files {
            match self.read_file(&format!("{}/{file}", place.as_str())) {
                Ok(text) => {
                    let salvaged = || if place == Place::Done { Entry::salvage(&text) } else { None };
                    let entry = Entry::parse(&text).or_else(salvaged);
                    // A call that creates its own has its file a moment before it has written into it.
                    let noting = || Reservation::starter(&file).filter(|_| place == Place::Claimed);
                    listed.push(Listed { entry, claimer: claimer_of(&text).or_else(noting), file });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(listed)
    }

    /// How many files lie in a place.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn count(&self, place: Place) -> io::Result<usize> {
        Ok(self.files(place)?.len())
    }

    /// Moves a file to `done/`, under the name of its disposable if it has one, so that the keeper destroys it.
    /// `Ok(false)` when somebody moved it before.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the rename fails.
    pub fn discard(&self, place: Place, file: &str) -> io::Result<bool> {
        let _lock = self.lock()?;
        let from = format!("{}/{file}", place.as_str());
        let name = match self.read_file(&from) {
            Ok(text) => Entry::parse(&text).map_or_else(|| file.to_owned(), |entry| entry.name.to_string()),
            Err(_) => file.to_owned(),
        };
        match self.rename(&from, &format!("done/{name}")) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes a file whose disposable is gone.
    ///
    /// # Errors
    /// The file cannot be removed; that it is gone already is no error.
    pub fn forget(&self, place: Place, file: &str) -> io::Result<()> {
        let path = format!("{}/{file}", place.as_str());
        match nix::unistd::unlinkat(self.dir(), path.as_str(), nix::unistd::UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn files(&self, place: Place) -> io::Result<Vec<String>> {
        self.files_of(place.as_str())
    }

    pub(super) fn files_of(&self, directory: &str) -> io::Result<Vec<String>> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(self.dir(), directory, flags, Mode::empty())?;
        let mut files = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str() {
                if !name.starts_with('.') {
                    files.push(name.to_owned());
                }
            }
        }
        Ok(files)
    }
}
