//! Unix sockets at paths of any length.
//!
//! A socket address holds 107 bytes of path (unix(7)); a state directory may be longer. Such a path is reached through
//! its directory's descriptor, as `/proc/self/fd/N/NAME`, which names the same file.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const LONGEST_DIRECT_PATH: usize = 107;

/// Binds a stream socket at `path`, which must not exist, and listens.
///
/// # Errors
/// As [`UnixListener::bind`].
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    with_short_path(path, |short| UnixListener::bind(short))
}

/// Connects a stream socket to `path`.
///
/// # Errors
/// As [`UnixStream::connect`]: `NotFound` and `ConnectionRefused` mean that nobody serves there.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    with_short_path(path, |short| UnixStream::connect(short))
}

/// Binds a datagram socket at `path`, which must not exist.
///
/// # Errors
/// As [`UnixDatagram::bind`].
pub fn bind_datagram(path: &Path) -> io::Result<UnixDatagram> {
    with_short_path(path, |short| UnixDatagram::bind(short))
}

/// A datagram socket whose messages go to `path`.
///
/// # Errors
/// As [`UnixDatagram::connect`].
pub fn connect_datagram(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    with_short_path(path, |short| socket.connect(short))?;
    Ok(socket)
}

fn with_short_path<T>(path: &Path, action: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= LONGEST_DIRECT_PATH {
        return action(path);
    }
    let invalid =
        || io::Error::new(io::ErrorKind::InvalidInput, "a socket path needs a directory and a name");
    let directory = open_directory(path.parent().ok_or_else(invalid)?)?;
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    short.push(path.file_name().ok_or_else(invalid)?);
    action(&short)
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_path_of_300_characters_works() {
        let top = std::env::temp_dir().join(format!("os-socket-{}", std::process::id()));
        let deep = top.join("d".repeat(150)).join("e".repeat(150));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("sock");
        let listener = listen(&path).unwrap();
        let mut client = connect(&path).unwrap();
        client.write_all(b"x").unwrap();
        let mut got = [0];
        listener.accept().unwrap().0.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"x");
        std::fs::remove_dir_all(top).unwrap();
    }
}
