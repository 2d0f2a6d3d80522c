//! The user's own file: opened once, remembered as it was, replaced only if it still is so (promise P12).

use super::writers::writer;
use crate::decision::Standing;
use crate::shown::shown;
use crate::subject::absence;
use nix::libc::{ENOSYS, EOPNOTSUPP, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

pub(super) struct Original {
    /// The last component of the path as the user gave it.
    name: OsString,
    /// The file itself, behind all symlinks.
    path: PathBuf,
    file: File,
    mark: Mark,
}

/// What tells a file from a changed or another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(data: &Metadata) -> Self {
        Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }
    }
}

impl Original {
    /// Opens a regular file. What it is gets checked before the opening too, which would wake some devices.
    pub(super) fn open(given: &Path) -> Result<Self, OriginalError> {
        let fail = |cause| OriginalError::new(given, cause);
        let io_fail = |cause: io::Error| OriginalError::new(given, Cause::from(cause));
        check_kind(&fs::metadata(given).map_err(io_fail)?).map_err(fail)?;
        let path = fs::canonicalize(given).map_err(io_fail)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
            .open(&path)
            .map_err(io_fail)?;
        let data = file.metadata().map_err(io_fail)?;
        check_kind(&data).map_err(fail)?;
        let name = given.file_name().or_else(|| path.file_name()).unwrap_or_default().to_owned();
        Ok(Self { name, path, file, mark: Mark::of(&data) })
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file_name(&self) -> &OsStr {
        self.path.file_name().unwrap_or(&self.name)
    }

    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    pub(super) fn size(&self) -> u64 {
        self.mark.size
    }

    /// A descriptor to read the content from.
    pub(super) fn content(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether the file at this path is still the one that was opened, as it was then (M35).
    pub(super) fn standing(&self) -> Standing {
        match fs::symlink_metadata(&self.path) {
            Ok(data) if Mark::of(&data) == self.mark => match writer(&self.path) {
                None => Standing::Same,
                Some(_) => Standing::Open,
            },
            Ok(_) => Standing::Changed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Standing::Gone,
            Err(_) => Standing::Changed,
        }
    }

    /// Makes `file` fit to take this one's place: owner, attributes and mode, where that is allowed (M34). Its content is
    /// on the disk then.
    pub(super) fn prepare(&self, file: &File) -> io::Result<()> {
        self.pass_on_attributes(file)?;
        file.sync_all()
    }

    /// Whether this is the file that was opened, with the content that it had then. Its status may have changed: renaming
    /// is such a change.
    pub(super) fn was_seen(&self, data: &Metadata) -> bool {
        Mark { changed: self.mark.changed, ..Mark::of(data) } == self.mark
    }

    /// How many names the file that was opened has left, once it was replaced: those were not edited (M34).
    pub(super) fn other_names(&self) -> u64 {
        self.file.metadata().map_or(0, |data| data.nlink())
    }

    fn pass_on_attributes(&self, file: &File) -> io::Result<()> {
        let old = self.file.metadata()?;
        let new = file.metadata()?;
        let mut mode = old.mode() & 0o7777;
        let owner = (old.uid() != new.uid()).then_some(old.uid());
        let group = (old.gid() != new.gid()).then_some(old.gid());
        let has_owner = owner.is_none() || fchown(file, owner, None).is_ok();
        let has_group = group.is_none() || fchown(file, None, group).is_ok();
        if !has_owner || !has_group {
            mode &= !0o6000;
        }
        if !has_group {
            // Our group is not the one that the owner trusted: it gets no more than everybody.
            mode &= mode << 3 | !0o070;
        }
        copy_extended_attributes(&self.file, file);
        match file.set_permissions(Permissions::from_mode(mode)) {
            Err(error) if has_modes(&error) && file.metadata()?.mode() & 0o7777 != mode => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether a mode could have been given to a file. Shares of Windows, as desktops show them, have none to give.
fn has_modes(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(EOPNOTSUPP | ENOSYS))
}

/// Copies what may be copied; access lists are extended attributes too. What the kernel refuses stays behind.
fn copy_extended_attributes(from: &File, to: &File) {
    let mut names = vec![0u8; 64 * 1024];
    let Ok(length) = rustix::fs::flistxattr(from, &mut names[..]) else { return };
    let mut value = vec![0u8; 64 * 1024];
    for name in names.get(..length).unwrap_or_default().split(|&byte| byte == 0) {
        // A file capability holds for the content that it was given to.
        if name.is_empty() || name == b"security.capability" {
            continue;
        }
        if let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value[..]) {
            let value = value.get(..length).unwrap_or_default();
            if rustix::fs::fsetxattr(to, name, value, rustix::fs::XattrFlags::empty()).is_err() {
                continue;
            }
        }
    }
}

fn check_kind(data: &Metadata) -> Result<(), Cause> {
    if data.is_dir() {
        Err(Cause::Directory)
    } else if !data.is_file() {
        Err(Cause::NotRegular)
    } else {
        Ok(())
    }
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub(super) struct OriginalError {
    given: PathBuf,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Missing,
    Directory,
    NotRegular,
    Unreadable,
    Other(io::Error),
}

impl OriginalError {
    fn new(given: &Path, cause: Cause) -> Self {
        Self { given: given.to_owned(), cause }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Unreadable,
            _ => Self::Other(error),
        }
    }
}

impl Display for OriginalError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let given = shown(&self.given);
        match &self.cause {
            Cause::Missing => write!(f, "\"{given}\": {}", absence(self.given.as_os_str())),
            Cause::Directory => {
                write!(f, "\"{given}\" is a directory; only files can be opened in another qube")
            }
            Cause::NotRegular => {
                write!(f, "\"{given}\" is a device, pipe or socket, not a file with content")
            }
            Cause::Unreadable => write!(f, "\"{given}\": you have no permission to read it"),
            Cause::Other(cause) => write!(f, "\"{given}\": {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exchange::Swap;
    use super::super::keep::TemporaryFile;
    use super::*;
    use std::io::Write;

    fn error(path: &Path) -> String {
        Original::open(path).err().unwrap().to_string()
    }

    #[test]
    fn m43_each_failure_has_its_own_words() {
        let top = tempfile::tempdir().unwrap();
        assert!(error(top.path()).ends_with("is a directory; only files can be opened in another qube"));
        assert!(error(&top.path().join("x")).ends_with("there is no such file"));
        assert!(error(Path::new("magnet:x")).contains("not magnet"));
        assert!(error(Path::new("/dev/null")).contains("is a device"));
        let fifo = top.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(error(&fifo).contains("pipe"));
    }

    #[test]
    fn m34_where_files_have_no_modes_an_edit_comes_back_all_the_same() {
        let error = io::Error::from_raw_os_error;
        assert!(!has_modes(&error(EOPNOTSUPP)) && !has_modes(&error(ENOSYS)));
        assert!(has_modes(&error(nix::libc::EPERM)), "the mode was not kept");
    }

    #[test]
    fn p12_replacing_keeps_mode_link_and_attributes() {
        let top = tempfile::tempdir().unwrap();
        let (real, link) = (top.path().join("real"), top.path().join("link"));
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let noted =
            rustix::fs::setxattr(&real, "user.note", b"kept", rustix::fs::XattrFlags::empty()).is_ok();
        let original = Original::open(&link).unwrap();
        assert_eq!((original.name(), original.file_name()), (OsStr::new("link"), OsStr::new("real")));
        assert_eq!(original.standing(), Standing::Same);
        let (temporary, mut file) = TemporaryFile::create(original.directory()).unwrap();
        file.write_all(b"new").unwrap();
        original.prepare(&file).unwrap();
        let kept = temporary.keep(&file, original.file_name()).unwrap();
        assert_eq!(original.replace_by(&file, &kept).unwrap(), Swap::Replaced);
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(&link).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
        if noted {
            let mut value = [0; 8];
            assert_eq!(rustix::fs::getxattr(&real, "user.note", &mut value[..]), Ok(4));
            assert_eq!(&value[..4], b"kept");
        }
        assert_eq!(original.standing(), Standing::Changed);
        fs::remove_file(&real).unwrap();
        assert_eq!(original.standing(), Standing::Gone);
    }

    #[test]
    fn m34_the_owner_is_kept_or_trusted_with_no_more() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("a");
        fs::write(&path, "old").unwrap();
        if std::os::unix::fs::chown(&path, Some(65_534), Some(65_533)).is_err() {
            eprintln!("skipped: only root may give a file away");
            return;
        }
        fs::set_permissions(&path, Permissions::from_mode(0o4750)).unwrap();
        let original = Original::open(&path).unwrap();
        let (temporary, file) = TemporaryFile::create(top.path()).unwrap();
        original.prepare(&file).unwrap();
        let kept = temporary.keep(&file, original.file_name()).unwrap();
        assert_eq!(original.replace_by(&file, &kept).unwrap(), Swap::Replaced);
        let data = fs::metadata(&path).unwrap();
        assert_eq!((data.uid(), data.gid(), data.mode() & 0o7777), (65_534, 65_533, 0o4750));
    }
}
