//! The instant in which an edited file takes the original's place (promise P12).
//!
//! Between the last look at the original and a rename over it somebody may write it, and the rename would throw that away
//! unseen. So the two files change places in one step, and what came out is looked at: it goes only if it is what was seen.

use super::original::Original;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where the two files are afterwards.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swap {
    /// The edited file is the original now.
    Replaced,
    /// Somebody wrote the original meanwhile: it is where it was, as they left it, and so is the edited file.
    Overtaken,
    /// Somebody wrote more than once: what they wrote is in the original's place and in that of the edited file, whose
    /// content only its descriptor still holds for sure.
    Mixed,
    /// This file system cannot exchange. The edited file is the original now, but what it replaced had been written
    /// meanwhile: that content only the original's descriptor still holds.
    Overwritten,
}

impl Original {
    /// Puts the prepared file, which is at `path` in the same directory, in the place of the original in one step.
    pub(super) fn replace_by(&self, edited: &File, path: &Path) -> io::Result<Swap> {
        let swap = match exchange(path, self.path()) {
            Ok(()) if self.was_seen(&fs::symlink_metadata(path)?) => {
                fs::remove_file(path)?;
                Swap::Replaced
            }
            Ok(()) => self.undo(edited, path)?,
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.replace_blindly(path)?,
            Err(error) => return Err(error.into()),
        };
        if File::open(self.directory()).and_then(|directory| directory.sync_all()).is_err() {
            // Some file systems cannot do this for directories. The new content is safe; the renaming follows.
        }
        Ok(swap)
    }

    /// Brings back what came out.
    fn undo(&self, edited: &File, path: &Path) -> io::Result<Swap> {
        let is_back = exchange(path, self.path()).is_ok();
        let (ours, there) = (edited.metadata()?, fs::symlink_metadata(path));
        let is_ours = there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        Ok(if is_back && is_ours { Swap::Overtaken } else { Swap::Mixed })
    }

    /// A file that was renamed to the original's path at this very instant is lost here; one that was written is not.
    fn replace_blindly(&self, path: &Path) -> io::Result<Swap> {
        fs::rename(path, self.path())?;
        let replaced = self.content()?.metadata()?;
        Ok(if self.was_seen(&replaced) { Swap::Replaced } else { Swap::Overwritten })
    }
}

fn exchange(one: &Path, other: &Path) -> Result<(), Errno> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
}

#[cfg(test)]
mod tests {
    use super::super::keep::TemporaryFile;
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;

    /// An original that was looked at, and an edited file that is ready to replace it.
    struct Instant {
        top: tempfile::TempDir,
        original: Original,
        edited: File,
        path: PathBuf,
    }

    impl Instant {
        fn new() -> Self {
            let top = tempfile::tempdir().unwrap();
            let file = top.path().join("a");
            fs::write(&file, "old").unwrap();
            let original = Original::open(&file).unwrap();
            let (temporary, mut edited) = TemporaryFile::create(top.path()).unwrap();
            edited.write_all(b"edit").unwrap();
            let path = temporary.keep(&edited, original.file_name()).unwrap();
            Self { top, original, edited, path }
        }

        /// Somebody else's program saves: in the file, or by renaming another one to its name.
        fn save(&self, by_renaming: bool, text: &str) {
            let (file, other) = (self.top.path().join("a"), self.top.path().join("b"));
            fs::write(if by_renaming { &other } else { &file }, text).unwrap();
            if by_renaming {
                fs::rename(other, file).unwrap();
            }
        }

        fn text(&self, name: &str) -> String {
            fs::read_to_string(self.top.path().join(name)).unwrap()
        }

        fn files(&self) -> usize {
            fs::read_dir(self.top.path()).unwrap().count()
        }
    }

    #[test]
    fn p12_m35_nothing_is_lost_of_what_is_saved_between_the_last_look_and_the_exchange() {
        let instant = Instant::new();
        assert_eq!(instant.original.replace_by(&instant.edited, &instant.path).unwrap(), Swap::Replaced);
        assert_eq!((instant.text("a").as_str(), instant.files()), ("edit", 1));
        for by_renaming in [false, true] {
            let instant = Instant::new();
            instant.save(by_renaming, "mine");
            assert_eq!(instant.original.replace_by(&instant.edited, &instant.path).unwrap(), Swap::Overtaken);
            assert_eq!((instant.text("a"), instant.text("a.edited")), ("mine".into(), "edit".into()));
            assert_eq!(instant.files(), 2);
        }
    }

    #[test]
    fn p12_m35_two_saves_around_the_exchange_are_both_kept() {
        let instant = Instant::new();
        instant.save(true, "mine");
        exchange(&instant.path, instant.original.path()).unwrap();
        instant.save(true, "mine, later");
        assert_eq!(instant.original.undo(&instant.edited, &instant.path).unwrap(), Swap::Mixed);
        assert_eq!((instant.text("a"), instant.text("a.edited")), ("mine".into(), "mine, later".into()));
        assert_eq!(instant.edited.metadata().unwrap().len(), 4, "the edit is still to be had");
    }

    #[test]
    fn p12_m35_without_an_exchange_a_written_file_is_still_noticed() {
        let instant = Instant::new();
        assert_eq!(instant.original.replace_blindly(&instant.path).unwrap(), Swap::Replaced);
        let instant = Instant::new();
        instant.save(false, "mine");
        assert_eq!(instant.original.replace_blindly(&instant.path).unwrap(), Swap::Overwritten);
        assert_eq!(io::read_to_string(instant.original.content().unwrap()).unwrap(), "mine");
    }
}
