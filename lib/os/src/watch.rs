//! Waiting for a directory to change, with inotify where it is to be had.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Watches a directory. A user has only so many inotify instances (128 by default, `fs.inotify.max_user_instances`), and a
/// desktop may use them up; then, or while there is no such directory, whoever waits looks again every 10 ms.
#[derive(Debug)]
pub struct Watch {
    /// There until it is dropped.
    inotify: Option<Inotify>,
}

impl Watch {
    /// Watches `directory` for these changes from now on.
    #[must_use]
    pub fn on(directory: &Path, changes: AddWatchFlags) -> Self {
        let watch = || -> nix::Result<Inotify> {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            inotify.add_watch(directory, changes)?;
            Ok(inotify)
        };
        Self { inotify: watch().ok() }
    }

    /// Returns true once something has changed since the last time, false after `limit`; earlier than that where there is
    /// nothing to watch with. Either way the caller looks for itself.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let Some(inotify) = &self.inotify else {
            thread::sleep(limit.min(BLIND_TICK));
            return Ok(false);
        };
        let deadline = Instant::now() + limit;
        loop {
            // Rounded up, so as not to spin through the last millisecond.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)], left) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
        Ok(true)
    }
}

impl Drop for Watch {
    /// The kernel keeps whoever closes an inotify instance waiting for a grace period, 10 to 20 ms: not the one who waited.
    fn drop(&mut self) {
        if let Some(inotify) = self.inotify.take() {
            // Where no thread can be had, the wait is here.
            drop(thread::Builder::new().name("watch".into()).spawn(move || drop(inotify)));
        }
    }
}

/// How often to look where there are no events.
const BLIND_TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_ends_the_wait_and_without_a_watch_the_caller_looks_again() {
        let directory = tempfile::tempdir().unwrap();
        let watch = Watch::on(directory.path(), AddWatchFlags::IN_CREATE);
        assert!(!watch.wait(Duration::from_millis(1)).unwrap());
        std::fs::write(directory.path().join("a"), "").unwrap();
        std::fs::write(directory.path().join("b"), "").unwrap();
        assert!(watch.wait(Duration::from_secs(600)).unwrap());
        assert!(!watch.wait(Duration::from_millis(1)).unwrap(), "all changes were told of at once");
        let blind = Watch::on(&directory.path().join("nosuch"), AddWatchFlags::IN_CREATE);
        assert!(
            !blind.wait(Duration::from_secs(600)).unwrap(),
            "it does not sleep through a change it cannot see"
        );
    }
}
