//! Bytes of unknown number on their way into a file: when one disk is full, they move on to the next.

use nix::errno::Errno;
use nix::sys::statvfs::fstatvfs;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::vec;

/// This many bytes stay free on a disk that is to be spared, or [`SPARED_PART`] of a small one.
const SPARED: u64 = 64 << 20;
const SPARED_PART: u64 = 20;

type Create<G> = Box<dyn Fn(&Path) -> io::Result<(G, File)>>;

/// A file that grows in the first of several directories that has room for it (M42). `G` owns the file's name and
/// removes it when dropped.
pub(crate) struct Landing<G> {
    directories: vec::IntoIter<PathBuf>,
    create: Create<G>,
    current: Option<Spot<G>>,
    tried: usize,
    received: u64,
    sparing: bool,
}

/// A file and its owner.
pub(crate) struct Spot<G> {
    pub(crate) guard: G,
    pub(crate) file: File,
    /// Whether this is in the first of the directories.
    pub(crate) first: bool,
}

impl<G> Landing<G> {
    pub(crate) fn new(
        directories: Vec<PathBuf>,
        create: impl Fn(&Path) -> io::Result<(G, File)> + 'static,
    ) -> Self {
        let directories = directories.into_iter();
        Self { directories, create: Box::new(create), current: None, tried: 0, received: 0, sparing: false }
    }

    /// Fills no disk to its end: some room is left for everything else (S10).
    pub(crate) fn sparing(mut self) -> Self {
        self.sparing = true;
        self
    }

    /// Makes sure that there is a file, if only an empty one.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        if self.current.is_some() {
            return Ok(());
        }
        self.move_on(io::Error::new(io::ErrorKind::NotFound, "there is no directory for it"))
    }

    /// Appends `bytes`. An error means that no directory has room for all of them; what had room is kept.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.open()?;
        while let (Some(spot), false) = (&mut self.current, bytes.is_empty()) {
            if self.sparing && !has_room(&spot.file, bytes.len() as u64) {
                self.move_on(Errno::ENOSPC.into())?;
                continue;
            }
            match spot.file.write(bytes) {
                Ok(0) => self.move_on(io::ErrorKind::WriteZero.into())?,
                Ok(count) => {
                    self.received += count as u64;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.move_on(error)?,
            }
        }
        Ok(())
    }

    /// Bytes that are in the file.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether the file, if there is one, is in the first of the directories.
    pub(crate) fn is_in_first(&self) -> bool {
        self.current.as_ref().is_none_or(|spot| spot.first)
    }

    /// The file; `None` when nothing asked for one.
    pub(crate) fn into_spot(self) -> Option<Spot<G>> {
        self.current
    }

    fn move_on(&mut self, mut error: io::Error) -> io::Result<()> {
        while let Some(directory) = self.directories.next() {
            self.tried += 1;
            match self.settle_in(&directory) {
                Ok(spot) => {
                    self.current = Some(spot);
                    return Ok(());
                }
                Err(next) if self.current.is_none() => error = next,
                // The first failure is the one to tell: it came up with the most bytes at hand.
                Err(_) => {}
            }
        }
        Err(error)
    }

    fn settle_in(&mut self, directory: &Path) -> io::Result<Spot<G>> {
        let (guard, mut file) = (self.create)(directory)?;
        if let Some(spot) = &mut self.current {
            if self.sparing && !has_room(&file, self.received) {
                return Err(Errno::ENOSPC.into());
            }
            spot.file.seek(SeekFrom::Start(0))?;
            let copied = io::copy(&mut (&spot.file).take(self.received), &mut file)?;
            if copied != self.received {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Spot { guard, file, first: self.tried == 1 })
    }
}

/// Whether the disk can take so many bytes more and keep what is spared. A file system that does not tell has room.
fn has_room(file: &File, bytes: u64) -> bool {
    fstatvfs(file).is_ok_and(|data| {
        let unit = data.fragment_size();
        let spared = SPARED.min(data.blocks().saturating_mul(unit) / SPARED_PART);
        data.blocks() == 0 || data.blocks_available().saturating_mul(unit) >= bytes.saturating_add(spared)
    })
}

/// A name that nobody else has chosen by chance: 16 hexadecimal digits.
pub(crate) fn random_suffix() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};

    struct Guard(PathBuf);
    impl Drop for Guard {
        fn drop(&mut self) {
            fs::remove_file(&self.0).unwrap();
        }
    }

    /// A directory called `full` stands for a full disk: its file is /dev/full.
    fn create(directory: &Path) -> io::Result<(Guard, File)> {
        let path = directory.join("file");
        let full = directory.file_name().is_some_and(|name| name == "full");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let file = if full { OpenOptions::new().read(true).write(true).open("/dev/full")? } else { file };
        Ok((Guard(path), file))
    }

    #[test]
    fn m42_a_full_disk_is_left_for_the_next() {
        let top = tempfile::tempdir().unwrap();
        let [full, missing, roomy] = ["full", "missing", "roomy"].map(|name| top.path().join(name));
        fs::create_dir(&full).unwrap();
        fs::create_dir(&roomy).unwrap();
        let mut landing = Landing::new(vec![full.clone(), missing, roomy.clone()], create);
        landing.write(b"abc").unwrap();
        landing.write(b"def").unwrap();
        assert_eq!(landing.received(), 6);
        let spot = landing.into_spot().unwrap();
        assert!(!spot.first);
        assert_eq!(fs::read(roomy.join("file")).unwrap(), b"abcdef");
        assert_eq!(fs::read_dir(&full).unwrap().count(), 0);
        drop(spot);
        assert_eq!(fs::read_dir(&roomy).unwrap().count(), 0);
    }

    #[test]
    fn m42_no_room_anywhere_keeps_what_came() {
        let top = tempfile::tempdir().unwrap();
        let mut landing = Landing::new(vec![top.path().to_owned()], create);
        landing.write(b"abc").unwrap();
        landing.current.as_mut().unwrap().file = File::open("/dev/null").unwrap();
        assert!(landing.write(b"def").is_err());
        assert_eq!(landing.received(), 3);
        let mut none = Landing::new(Vec::new(), create);
        assert!(none.write(b"abc").is_err());
        assert!(none.into_spot().is_none());
    }
}
