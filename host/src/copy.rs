//! Copies a directory tree that a qube writes to, perhaps at this very moment.
//!
//! Every step goes through the descriptor of a directory and never through a symbolic link: a qube that replaces a
//! directory by a link while we copy cannot make us read another part of this machine. What is neither file, directory
//! nor link is left out.

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::symlinkat;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Deeper trees are refused: each level holds two descriptors.
const DEEPEST: usize = 200;

/// Copies what is in `from` into `to`; both exist.
///
/// # Errors
/// The first thing that cannot be copied, by its name.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let open = |path: &Path| -> io::Result<OwnedFd> {
        Ok(nix::fcntl::open(path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())?)
    };
    copy_directory(open(from)?, &open(to)?, DEEPEST)
}

fn copy_directory(from: OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("more than {DEEPEST} levels")));
    }
    let source = from.try_clone()?;
    let mut directory = Dir::from_fd(from)?;
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let result = copy_entry(&source, to, name, entry.file_type(), depth);
        result.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", names::printable(name.to_bytes())))
        })?;
    }
    Ok(())
}

fn copy_entry(
    from: &OwnedFd,
    to: &OwnedFd,
    name: &std::ffi::CStr,
    kind: Option<Type>,
    depth: usize,
) -> io::Result<()> {
    let kind = match kind {
        Some(kind) => Some(kind),
        None => match SFlag::from_bits_truncate(
            fstatat(from.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode,
        ) & SFlag::S_IFMT
        {
            SFlag::S_IFDIR => Some(Type::Directory),
            SFlag::S_IFREG => Some(Type::File),
            SFlag::S_IFLNK => Some(Type::Symlink),
            _ => None,
        },
    };
    match kind {
        Some(Type::Directory) => {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let Some(source) = gone_is_none(openat(from.as_fd(), name, flags, Mode::empty()))? else {
                return Ok(());
            };
            mkdirat(to.as_fd(), name, Mode::S_IRWXU)?;
            let target = openat(to.as_fd(), name, flags, Mode::empty())?;
            let mode = fstat(source.as_fd())?.st_mode;
            copy_directory(source, &target, depth - 1)?;
            Ok(fchmod(target.as_fd(), permissions(mode))?)
        }
        Some(Type::File) => {
            // A pipe that took the file's place must not block us.
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
            let Some(source) = gone_is_none(openat(from.as_fd(), name, flags, Mode::empty()))? else {
                return Ok(());
            };
            let stat = fstat(source.as_fd())?;
            if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
                return Ok(());
            }
            let flags =
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let target = openat(to.as_fd(), name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
            let (mut source, mut target) = (File::from(source), File::from(target));
            io::copy(&mut source, &mut target)?;
            Ok(fchmod(target.as_fd(), permissions(stat.st_mode))?)
        }
        Some(Type::Symlink) => match gone_is_none(readlinkat(from.as_fd(), name))? {
            Some(text) => Ok(symlinkat(text.as_os_str(), to.as_fd(), name)?),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The qube may remove or replace what we have just seen: that is then not copied.
fn gone_is_none<T>(result: nix::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENOTDIR | Errno::ENXIO | Errno::EINVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Read, write and execute only: nothing runs with the rights of another.
fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o777) | Mode::S_IRUSR
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    #[test]
    fn files_modes_and_links_are_copied_and_nothing_behind_a_link() {
        let top = tempfile::tempdir().unwrap();
        let (secret, from, to) = (top.path().join("secret"), top.path().join("from"), top.path().join("to"));
        for directory in [&secret, &from, &to, &from.join("a/b")] {
            fs::create_dir_all(directory).unwrap();
        }
        fs::write(secret.join("key"), "k").unwrap();
        fs::write(from.join("a/b/script"), "echo").unwrap();
        fs::set_permissions(from.join("a/b/script"), fs::Permissions::from_mode(0o4751)).unwrap();
        symlink("../secret", from.join("a/out")).unwrap();
        symlink("nowhere", from.join("dangling")).unwrap();
        let _socket = UnixListener::bind(from.join("socket")).unwrap();
        nix::unistd::mkfifo(&from.join("fifo"), Mode::S_IRWXU).unwrap();
        copy_tree(&from, &to).unwrap();
        let script = to.join("a/b/script");
        assert_eq!(fs::read(&script).unwrap(), b"echo");
        assert_eq!(fs::metadata(&script).unwrap().permissions().mode() & 0o7777, 0o751);
        assert_eq!(fs::read_link(to.join("a/out")).unwrap(), Path::new("../secret"));
        assert_eq!(fs::read_link(to.join("dangling")).unwrap(), Path::new("nowhere"));
        assert!(!to.join("fifo").exists() && !to.join("socket").exists());
        assert!(copy_tree(&from.join("a/out"), &to).is_err(), "a link in place of the directory itself");
    }
}
