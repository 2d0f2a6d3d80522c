//! The sockets by which others in dom0 reach a daemon (spec/qrexec-wire.md 1.4 and section 3).

use super::options::Options;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

/// The listening socket `qrexec.DOMID` and its two symlinks. Dropping it removes those of them that are still its own.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    socket: PathBuf,
    inode: u64,
    links: [PathBuf; 2],
    link_text: PathBuf,
}

impl Door {
    /// Makes the sockets, in place of what bears their names. Each works from the moment on that its name is seen.
    pub(super) fn open(options: &Options) -> io::Result<Self> {
        let name = format!("qrexec.{}", options.domain);
        let dir = &options.socket_dir;
        let unfinished = dir.join(format!(".{name}.new"));
        remove(&unfinished)?;
        let listener = os::socket::listen(&unfinished)?;
        listener.set_nonblocking(true)?;
        // Access is limited by the directory.
        fs::set_permissions(&unfinished, Permissions::from_mode(0o777))?;
        let inode = fs::symlink_metadata(&unfinished)?.ino();
        let door = Self {
            listener,
            socket: dir.join(&name),
            inode,
            links: [
                dir.join(format!("qrexec.uuid:{}", options.uuid)),
                dir.join(format!("qrexec.{}", options.name)),
            ],
            link_text: PathBuf::from(name),
        };
        fs::rename(&unfinished, &door.socket)?;
        for link in &door.links {
            remove(link)?;
            symlink(&door.link_text, link)?;
        }
        Ok(door)
    }

    /// The next client; `None` when none waits.
    pub(super) fn accept(&self) -> io::Result<Option<UnixStream>> {
        match self.listener.accept() {
            Ok((client, _)) => {
                client.set_nonblocking(true)?;
                Ok(Some(client))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // A successor for the same qube name may have made its own already.
        for link in &self.links {
            if fs::read_link(link).is_ok_and(|text| text == self.link_text) {
                log_failure(remove(link));
            }
        }
        if fs::symlink_metadata(&self.socket).is_ok_and(|found| found.ino() == self.inode) {
            log_failure(remove(&self.socket));
        }
    }
}

fn remove(path: &PathBuf) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn log_failure(result: io::Result<()>) {
    if let Err(error) = result {
        log::warn!("removing a socket of this daemon failed: {error}");
    }
}
