//! Files that are not there yet, and the names under which an edit that cannot replace its original is kept.

use crate::landing::random_suffix;
use nix::fcntl::{Flock, FlockArg};
use nix::libc::{O_NOFOLLOW, O_TMPFILE};
use rustix::fs::{AtFlags, CWD, linkat};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest file name that Linux file systems take.
const LONGEST_NAME: usize = 255;
const PREFIX: &str = ".qubes-open-";

/// A new file in a directory that vanishes unless [`Self::keep`] gives it a name.
///
/// Where the file system can do that, it has no name before: whatever ends us, nothing is left. Elsewhere its hidden name
/// is removed when this is dropped, and what a killed process left is removed when the next such file is made.
#[derive(Debug)]
pub(super) struct TemporaryFile {
    directory: PathBuf,
    named: Option<Named>,
}

#[derive(Debug)]
struct Named {
    path: PathBuf,
    /// Held as long as we live: a file that nobody holds was left by somebody who was killed.
    _alive: Option<Flock<File>>,
}

impl TemporaryFile {
    /// A new, empty file in `directory` that only its owner may read (S10).
    pub(super) fn create(directory: &Path) -> io::Result<(Self, File)> {
        // Its name is given through /proc.
        if Path::new("/proc/self/fd").exists() {
            if let Ok(file) = options().custom_flags(O_TMPFILE).open(directory) {
                return Ok((Self { directory: directory.to_owned(), named: None }, file));
            }
        }
        Self::create_named(directory)
    }

    fn create_named(directory: &Path) -> io::Result<(Self, File)> {
        remove_left_behind(directory);
        loop {
            let path = directory.join(format!("{PREFIX}{}", random_suffix()));
            match create_new(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => {
                    let file = created?;
                    let alive = file.try_clone().ok().and_then(|file| lock(file).ok());
                    let named = Some(Named { path, _alive: alive });
                    return Ok((Self { directory: directory.to_owned(), named }, file));
                }
            }
        }
    }

    /// Gives the file its lasting name, `NAME.edited` or `NAME.edited-N`, in its directory, and returns the path. No file of
    /// others is ever overwritten. On an error a file that has a hidden name stays under it.
    pub(super) fn keep(mut self, file: &File, name: &OsStr) -> Result<PathBuf, NotKept> {
        let named = self.named.take();
        let mut cause = io::Error::from(io::ErrorKind::AlreadyExists);
        for number in 1..=9999 {
            let path = self.directory.join(edited_name(name, number));
            let given = match &named {
                None => link(file, &path),
                Some(named) => move_to(&named.path, &path),
            };
            match given {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    cause = error;
                    break;
                }
            }
        }
        Err(NotKept { cause, hidden: named.map(|named| named.path) })
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if let Some(named) = &self.named {
            if fs::remove_file(&named.path).is_err() {
                // Removed by someone else; there is nothing left to do.
            }
        }
    }
}

/// Why a file got no lasting name.
#[derive(Debug)]
pub(super) struct NotKept {
    pub(super) cause: io::Error,
    /// Where it is all the same.
    pub(super) hidden: Option<PathBuf>,
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// The name is taken first, then the file is put over what took it.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    create_new(to)?;
    let moved = fs::rename(from, to);
    if moved.is_err() && fs::remove_file(to).is_err() {
        // An empty file stays behind.
    }
    moved
}

/// Only what was never whole still has such a name, and only the killed let go of theirs.
fn remove_left_behind(directory: &Path) {
    let own = nix::unistd::getuid().as_raw();
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.flatten().filter(|entry| is_hidden_name(&entry.file_name())).map(|entry| entry.path())
    {
        let opened =
            OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | nix::libc::O_NONBLOCK).open(&path);
        let Ok(file) = opened else { continue };
        let is_ours = file.metadata().is_ok_and(|data| data.is_file() && data.uid() == own);
        if is_ours && lock(file).is_ok() && fs::remove_file(&path).is_err() {
            // Another one was faster.
        }
    }
}

fn is_hidden_name(name: &OsStr) -> bool {
    let suffix = name.as_bytes().strip_prefix(PREFIX.as_bytes());
    suffix.is_some_and(|suffix| suffix.len() == 16 && suffix.iter().all(u8::is_ascii_hexdigit))
}

fn lock(file: File) -> io::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error.into())
}

fn create_new(path: &Path) -> io::Result<File> {
    options().create_new(true).custom_flags(O_NOFOLLOW).open(path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// A long name loses its end, so that the whole has room.
fn edited_name(name: &OsStr, number: u32) -> OsString {
    let suffix = if number == 1 { ".edited".to_owned() } else { format!(".edited-{number}") };
    let name = name.as_bytes();
    let mut whole = name.get(..LONGEST_NAME - suffix.len()).unwrap_or(name).to_vec();
    whole.extend_from_slice(suffix.as_bytes());
    OsString::from_vec(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    type Create = fn(&Path) -> io::Result<(TemporaryFile, File)>;
    const BOTH: [Create; 2] = [TemporaryFile::create, TemporaryFile::create_named];

    fn count(directory: &Path) -> usize {
        fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn p12_kept_files_never_overwrite_each_other() {
        for create in BOTH {
            let top = tempfile::tempdir().unwrap();
            let keep_one = |text: &str| {
                let (temporary, mut file) = create(top.path()).unwrap();
                file.write_all(text.as_bytes()).unwrap();
                temporary.keep(&file, OsStr::new("a.txt")).unwrap()
            };
            assert_eq!(keep_one("1"), top.path().join("a.txt.edited"));
            assert_eq!(keep_one("2"), top.path().join("a.txt.edited-2"));
            assert_eq!(fs::read_to_string(top.path().join("a.txt.edited")).unwrap(), "1");
            assert_eq!(fs::metadata(top.path().join("a.txt.edited-2")).unwrap().mode() & 0o777, 0o600);
            assert_eq!(count(top.path()), 2);
        }
    }

    #[test]
    fn long_names_have_room() {
        let name = edited_name(&OsString::from("x".repeat(255)), 12);
        assert_eq!(name.len(), 255);
        assert!(name.as_bytes().ends_with(b"x.edited-12"));
    }

    #[test]
    fn a_temporary_file_goes_with_its_owner() {
        for create in BOTH {
            let top = tempfile::tempdir().unwrap();
            drop(create(top.path()).unwrap());
            assert_eq!(count(top.path()), 0);
        }
    }

    #[test]
    fn p5_what_a_killed_opener_left_goes_with_the_next_and_nothing_else_does() {
        let top = tempfile::tempdir().unwrap();
        for name in [".qubes-open-0123456789abcdef", ".qubes-open-notes", ".qubes-open-0123456789abcdeg"] {
            fs::write(top.path().join(name), "part").unwrap();
        }
        let living = TemporaryFile::create_named(top.path()).unwrap();
        let (next, _file) = TemporaryFile::create_named(top.path()).unwrap();
        let there = |name: &str| top.path().join(name).exists();
        assert!(!there(".qubes-open-0123456789abcdef"));
        assert!(there(".qubes-open-notes") && there(".qubes-open-0123456789abcdeg"));
        assert!(living.0.named.as_ref().unwrap().path.exists());
        drop((living, next));
        assert_eq!(count(top.path()), 2);
    }
}
