//! One state directory, one host.

use nix::fcntl::{Flock, FlockArg};
use os::process::ProcessId;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held for as long as a host uses its directory. The kernel frees it when the process dies.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: Flock<File>,
}

impl StateLock {
    /// Takes the lock without waiting.
    ///
    /// # Errors
    /// `ResourceBusy` when another holds it, with its pid in the text.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0)?;
                file.rewind()?;
                write!(&mut *file, "{}", ProcessId::own())?;
                Ok(Self { _file: file })
            }
            Err((mut file, nix::Error::EWOULDBLOCK)) => {
                let mut text = String::new();
                let holder = match file.read_to_string(&mut text).map(|_| text.parse::<ProcessId>()) {
                    Ok(Ok(process)) => format!("process {}", process.pid),
                    _ => "another process".to_owned(),
                };
                let directory = path.parent().unwrap_or(path).display();
                let text = format!("a host runs in {directory} already: {holder}");
                Err(io::Error::new(io::ErrorKind::ResourceBusy, text))
            }
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_host_is_told_the_pid_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.lock");
        let first = StateLock::take(&path).unwrap();
        let error = StateLock::take(&path).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        StateLock::take(&path).unwrap();
    }
}
