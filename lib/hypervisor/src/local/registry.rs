//! The directory of records: which domains there are.

use super::record::Record;
use crate::HypervisorError;
use names::{DomId, Uuid};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::getpid;
use os::process::ProcessId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const LONGEST_RECORD: u64 = 16 * 1024;

/// A directory with one file per domain, named after its number.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    pub(super) directory: PathBuf,
}

impl Registry {
    /// Enters a new domain; nobody else can enter the same number.
    pub(super) fn enter(&self, domid: DomId, record: &Record) -> Result<(), HypervisorError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|error| HypervisorError::file("cannot create the registry", &self.directory, error))?;
        let new = self.write_new(domid, record)?;
        let result = fs::hard_link(&new, self.path(domid));
        let _ = fs::remove_file(&new);
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(HypervisorError::AlreadyExists(domid))
            }
            Err(error) => {
                Err(HypervisorError::file("cannot enter the domain into", &self.path(domid), error))
            }
        }
    }

    /// Replaces the record of a domain that the caller has entered.
    pub(super) fn replace(&self, domid: DomId, record: &Record) -> Result<(), HypervisorError> {
        let new = self.write_new(domid, record)?;
        fs::rename(&new, self.path(domid))
            .map_err(|error| HypervisorError::file("cannot replace the record", &self.path(domid), error))
    }

    /// The record of a domain; `None` when there is no such domain.
    pub(super) fn read(&self, domid: DomId) -> Result<Option<Record>, HypervisorError> {
        let path = self.path(domid);
        match File::open(&path) {
            Ok(file) => parse(file, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(HypervisorError::file("cannot read the record", &path, error)),
        }
    }

    /// The record of a domain, and the right to change the domain's state until the lock is dropped. The kernel frees the
    /// lock of a process that dies.
    pub(super) fn lock(&self, domid: DomId) -> Result<(Record, Flock<File>), HypervisorError> {
        let path = self.path(domid);
        let io = |error| HypervisorError::file("cannot lock the record", &path, error);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HypervisorError::NoSuchDomain(domid));
            }
            Err(error) => return Err(io(error)),
        };
        let lock = loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(lock) => break lock,
                Err((again, Errno::EINTR)) => file = again,
                Err((_, error)) => return Err(io(error.into())),
            }
        };
        let record = parse(&*lock, &path)?;
        Ok((record, lock))
    }

    /// Strikes a domain off; one that is not there is no error, and another one with its number stays. Its supervisor, which
    /// alone writes its record, has ended or is the caller.
    pub(super) fn remove(
        &self,
        domid: DomId,
        uuid: Uuid,
        supervisor: ProcessId,
    ) -> Result<(), HypervisorError> {
        self.remove_unfinished_of(domid, supervisor.pid);
        if self.read(domid)?.is_none_or(|record| record.uuid != uuid) {
            return Ok(());
        }
        self.remove_file(domid)
    }

    /// Strikes a domain off whose record cannot be read.
    pub(super) fn remove_file(&self, domid: DomId) -> Result<(), HypervisorError> {
        match fs::remove_file(self.path(domid)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HypervisorError::file("cannot remove the record", &self.path(domid), error))
            }
            _ => Ok(()),
        }
    }

    /// All numbers in use, ascending.
    pub(super) fn list(&self) -> Vec<DomId> {
        let mut found: Vec<DomId> = self.file_names().iter().filter_map(|name| name.parse().ok()).collect();
        found.sort_unstable();
        found
    }

    /// Removes what one writer has left that was killed between writing a record and putting it in place.
    pub(super) fn remove_unfinished_of(&self, domid: DomId, writer: i32) {
        let _ = fs::remove_file(self.unfinished(domid, writer));
    }

    /// Removes what writers that died half-way have left.
    pub(super) fn remove_unfinished(&self) {
        for name in self.file_names() {
            if name.starts_with(UNFINISHED) {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
    }

    fn file_names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    fn path(&self, domid: DomId) -> PathBuf {
        self.directory.join(domid.to_string())
    }

    fn unfinished(&self, domid: DomId, writer: i32) -> PathBuf {
        self.directory.join(format!("{UNFINISHED}{domid}-{writer}"))
    }

    fn write_new(&self, domid: DomId, record: &Record) -> Result<PathBuf, HypervisorError> {
        let path = self.unfinished(domid, getpid().as_raw());
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            io::Write::write_all(&mut file, record.to_text().as_bytes())
        };
        write().map_err(|error| HypervisorError::file("cannot write the record", &path, error))?;
        Ok(path)
    }
}

fn parse(mut file: impl Read, path: &Path) -> Result<Record, HypervisorError> {
    // Enough for one read, in which the way of every hand-over is interested.
    let mut text = String::with_capacity(2048);
    file.by_ref()
        .take(LONGEST_RECORD)
        .read_to_string(&mut text)
        .map_err(|error| HypervisorError::file("cannot read the record", path, error))?;
    Record::parse(&text).map_err(|rule| HypervisorError::BadRecord { path: path.to_owned(), rule })
}

const UNFINISHED: &str = ".new-";
