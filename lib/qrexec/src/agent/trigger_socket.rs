//! The socket at which local programs reach the agent.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket that every program in the qube may use. Its name goes when this value goes.
#[derive(Debug)]
pub(super) struct TriggerSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl TriggerSocket {
    /// Takes over the name from an earlier agent. The socket gets its name only once everybody may connect.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(format!(".{}", std::process::id()));
        let unnamed = path.with_file_name(name);
        let listener = os::socket::listen(&unnamed)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&unnamed, Permissions::from_mode(0o777))?;
        fs::rename(&unnamed, path)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// The next program, if one is there.
    pub(super) fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.listener.accept() {
            Ok((stream, _)) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {
                    Ok(None)
                }
                _ => Err(error),
            },
        }
    }
}

impl AsFd for TriggerSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for TriggerSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("removing {}: {error}", self.path.display());
        }
    }
}
