//! Temporary files, and the names under which an edit that cannot replace its original is kept.

use crate::landing::random_suffix;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The longest file name that Linux file systems take.
const LONGEST_NAME: usize = 255;

/// A file with a name of our own, removed when dropped.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    path: PathBuf,
    ours: bool,
}

impl TemporaryFile {
    /// A new, empty file in `directory` that only its owner may read (S10).
    pub(super) fn create(directory: &Path) -> io::Result<(Self, File)> {
        loop {
            let path = directory.join(format!(".qubes-open-{}", random_suffix()));
            match create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return Ok((Self { path, ours: true }, created?)),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file is not temporary any more: it stays, wherever it was renamed to.
    pub(super) fn release(&mut self) {
        self.ours = false;
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if self.ours && fs::remove_file(&self.path).is_err() {
            // Removed by someone else; there is nothing left to do.
        }
    }
}

/// Gives the file its lasting name, `NAME.recovered` or `NAME.recovered-N`, in the directory where it is, and returns the
/// path. Whatever goes wrong, the file stays, if need be under its temporary name.
pub(super) fn keep(mut file: TemporaryFile, name: &OsStr) -> PathBuf {
    file.release();
    let directory = file.path().parent().unwrap_or(Path::new("/"));
    for number in 1..=9999 {
        let path = directory.join(recovered_name(name, number));
        // The name is taken first, then the file is put over what took it: no file of others is ever overwritten.
        match create_new(&path) {
            Ok(_) if fs::rename(file.path(), &path).is_ok() => return path,
            Ok(_) => {
                if fs::remove_file(&path).is_err() {
                    // An empty file stays behind.
                }
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(_) => break,
        }
    }
    file.path().to_owned()
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
}

/// A long name loses its end, so that the whole has room.
fn recovered_name(name: &OsStr, number: u32) -> OsString {
    let suffix = if number == 1 { ".recovered".to_owned() } else { format!(".recovered-{number}") };
    let name = name.as_bytes();
    let mut whole = name.get(..LONGEST_NAME - suffix.len()).unwrap_or(name).to_vec();
    whole.extend_from_slice(suffix.as_bytes());
    OsString::from_vec(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p12_kept_files_never_overwrite_each_other() {
        let top = tempfile::tempdir().unwrap();
        let keep_one = |text: &str| {
            let (file, _) = TemporaryFile::create(top.path()).unwrap();
            fs::write(file.path(), text).unwrap();
            keep(file, OsStr::new("a.txt"))
        };
        assert_eq!(keep_one("1"), top.path().join("a.txt.recovered"));
        assert_eq!(keep_one("2"), top.path().join("a.txt.recovered-2"));
        assert_eq!(fs::read_to_string(top.path().join("a.txt.recovered")).unwrap(), "1");
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2);
    }

    #[test]
    fn long_names_have_room() {
        let name = recovered_name(&OsString::from("x".repeat(255)), 12);
        assert_eq!(name.len(), 255);
        assert!(name.as_bytes().ends_with(b"x.recovered-12"));
    }

    #[test]
    fn a_temporary_file_goes_with_its_owner() {
        let top = tempfile::tempdir().unwrap();
        let (file, _) = TemporaryFile::create(top.path()).unwrap();
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1);
        drop(file);
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
    }
}
