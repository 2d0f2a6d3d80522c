//! Whether a file was changed by an application (M31).

use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

const BUFFER: usize = 256 * 1024;

/// A fingerprint of content that is taken while the content goes by.
#[derive(Default)]
pub(super) struct Digest {
    hasher: DefaultHasher,
}

impl Digest {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }
}

/// A file as it was before the application ran.
pub(super) struct Content {
    stat: Stat,
    hash: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    fn of(data: &Metadata) -> Self {
        Self {
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

/// What an application made of a file.
#[derive(Debug)]
pub(super) enum Change {
    /// Nothing, or nothing but its times.
    None,
    /// It holds something else now.
    Changed(File),
    /// It is empty now; it was not before.
    Emptied,
    Gone,
    /// A directory, symlink or the like has taken its place.
    NoFile,
}

impl Content {
    /// Remembers the file. Its modification time is put back a little first: clocks of file systems tick every few
    /// milliseconds only, and a change within the same tick must be seen.
    pub(super) fn remember(file: &File, digest: &Digest) -> io::Result<Self> {
        if let Some(before) = SystemTime::now().checked_sub(Duration::from_secs(2)) {
            file.set_modified(before)?;
        }
        Ok(Self { stat: Stat::of(&file.metadata()?), hash: digest.hasher.finish() })
    }

    /// Whether anything was done to the file since, if only to its times.
    pub(super) fn is_touched(&self, path: &Path) -> bool {
        !fs::symlink_metadata(path).is_ok_and(|data| Stat::of(&data) == self.stat)
    }

    /// Compares the file at `path` with what is remembered: times, size and inode first, content if they differ.
    pub(super) fn compare(&self, path: &Path) -> io::Result<Change> {
        let data = match fs::symlink_metadata(path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Change::Gone),
            Err(error) => return Err(error),
        };
        if !data.is_file() {
            return Ok(Change::NoFile);
        }
        if Stat::of(&data) == self.stat {
            return Ok(Change::None);
        }
        let open = || {
            let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
            OpenOptions::new().read(true).custom_flags(flags).open(path)
        };
        let file = open()?;
        let size = file.metadata()?.size();
        if size == 0 {
            return Ok(if self.stat.size == 0 { Change::None } else { Change::Emptied });
        }
        if size == self.stat.size && hash(file)? == self.hash {
            return Ok(Change::None);
        }
        Ok(Change::Changed(open()?))
    }
}

fn hash(mut file: File) -> io::Result<u64> {
    let mut digest = Digest::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(digest.hasher.finish()),
            Ok(count) => digest.add(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_does_not_depend_on_the_pieces() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let mut whole = Digest::default();
        whole.add(&bytes);
        let mut pieces = Digest::default();
        bytes.chunks(13).for_each(|piece| pieces.add(piece));
        assert_eq!(whole.hasher.finish(), pieces.hasher.finish());
    }

    #[test]
    fn m31_what_counts_as_a_change() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a");
        let other = top.path().join("b");
        let kind = |before: &str, change: &dyn Fn()| {
            fs::write(&path, before).unwrap();
            let mut digest = Digest::default();
            digest.add(before.as_bytes());
            let content =
                Content::remember(&File::options().write(true).open(&path).unwrap(), &digest).unwrap();
            change();
            let change = content.compare(&path).unwrap();
            if path.is_dir() {
                fs::remove_dir(&path).unwrap();
            }
            format!("{change:?}").chars().take_while(|c| c.is_alphabetic()).collect::<String>()
        };
        assert_eq!(kind("old", &|| {}), "None");
        assert_eq!(kind("old", &|| fs::write(&path, "new").unwrap()), "Changed");
        assert_eq!(kind("old", &|| fs::write(&path, "old").unwrap()), "None");
        assert_eq!(kind("old", &|| fs::write(&path, "").unwrap()), "Emptied");
        assert_eq!(kind("", &|| fs::write(&path, "").unwrap()), "None");
        assert_eq!(kind("old", &|| fs::remove_file(&path).unwrap()), "Gone");
        let replace = |text: &str| {
            fs::write(&other, text).unwrap();
            fs::rename(&other, &path).unwrap();
        };
        assert_eq!(kind("old", &|| replace("new")), "Changed");
        assert_eq!(kind("old", &|| replace("old")), "None");
        let in_the_way = || {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        };
        assert_eq!(kind("old", &in_the_way), "NoFile");
    }
}
