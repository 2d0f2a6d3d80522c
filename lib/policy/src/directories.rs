//! The real file system as a source of policy.

use crate::source::{PolicySource, SourceError, without_dots};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Reads policy from real directories, and remembers what it looked at so that a change can be noticed cheaply.
#[derive(Debug, Default)]
pub struct Directories {
    seen: Vec<Seen>,
    /// Files of listed directories that are no symbolic links: which file such a name means changes with its directory.
    plain: BTreeSet<PathBuf>,
}

/// What was looked at.
#[derive(Debug)]
struct Seen {
    path: PathBuf,
    /// A plain file, open: asking for its state needs no walk along its path.
    held: Option<File>,
    /// `None`: nothing was there.
    stamp: Option<Stamp>,
}

/// What tells two states of a file or directory apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Directories {
    /// A source that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether everything that was read is still as it was then. One `stat` or `fstat` per file and directory.
    pub(crate) fn unchanged(&self) -> bool {
        self.seen.iter().all(Seen::is_unchanged)
    }

    /// The latest change (ctime) of anything that was read, in seconds and nanoseconds since the epoch.
    pub(crate) fn latest_change(&self) -> (i64, i64) {
        self.seen.iter().filter_map(|seen| seen.stamp.map(|stamp| stamp.changed)).max().unwrap_or_default()
    }

    // The stamp is taken before the content is read: a change in between shows at the next look.
    fn remember(&mut self, path: &Path, metadata: Option<&Metadata>, held: Option<File>) {
        self.seen.push(Seen { path: path.to_owned(), held, stamp: metadata.map(Stamp::of) });
    }
}

impl Seen {
    fn is_unchanged(&self) -> bool {
        let now = match &self.held {
            Some(file) => file.metadata(),
            None => std::fs::metadata(&self.path),
        };
        now.ok().as_ref().map(Stamp::of) == self.stamp
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl PolicySource for Directories {
    fn list(&mut self, directory: &Path) -> Result<Vec<OsString>, SourceError> {
        let metadata = std::fs::metadata(directory).map_err(|error| {
            self.remember(directory, None, None);
            source_error(error)
        })?;
        if !metadata.is_dir() {
            return Err(SourceError::Absent);
        }
        self.remember(directory, Some(&metadata), None);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(source_error)? {
            let entry = entry.map_err(source_error)?;
            let (name, path) = (entry.file_name(), entry.path());
            let is_plain = entry.file_type().is_ok_and(|kind| kind.is_file());
            // A symbolic link that leads nowhere is no regular file; it may start to lead somewhere, but then its
            // target changes, not this directory. Upstream's watch does not notice that either.
            if is_plain || std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
                names.push(name);
            }
            if is_plain {
                self.plain.insert(path);
            }
        }
        Ok(names)
    }

    fn read(&mut self, path: &Path, limit: usize) -> Result<Vec<u8>, SourceError> {
        // Asked before opening: opening a named pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(source_error)?.is_file() {
            return Err(SourceError::Absent);
        }
        let file = File::open(path).map_err(source_error)?;
        let metadata = file.metadata().map_err(source_error)?;
        let mut bytes = Vec::new();
        let cap = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read = (&file).take(cap).read_to_end(&mut bytes);
        let held = self.plain.contains(path) && self.seen.len() < MOST_HELD;
        self.remember(path, Some(&metadata), held.then_some(file));
        read.map_err(source_error)?;
        if bytes.len() > limit { Err(SourceError::TooLarge) } else { Ok(bytes) }
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        std::fs::canonicalize(path).unwrap_or_else(|_| without_dots(path))
    }
}

// By value, because that is what `map_err` hands over.
#[allow(clippy::needless_pass_by_value)]
fn source_error(error: io::Error) -> SourceError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => SourceError::Absent,
        _ => SourceError::Failed(error.to_string()),
    }
}

/// So many descriptors are spent on saving time.
const MOST_HELD: usize = 64;
