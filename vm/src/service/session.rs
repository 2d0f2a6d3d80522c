//! The call that a service serves: it may end at any moment, by a signal or because the caller went away.

use crate::signals::{Signals, Waker, is_hung_up};
use nix::poll::PollFlags;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Duration;

/// Why a service gives up.
#[derive(Debug)]
pub(super) enum Stop {
    Signal(i32),
    /// Nobody reads our standard output any more.
    CallerGone,
    System(io::Error),
}

pub(super) struct Session {
    signals: Signals,
}

impl Session {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { signals: Signals::install()? })
    }

    /// Waits for a child's end, a waker or the time; ends early when the service is to stop.
    pub(super) fn pause(&self, timeout: Option<Duration>) -> Result<(), Stop> {
        self.wait(false, timeout).map(|_| ())
    }

    /// Reads some bytes of the request; 0 at its end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<io::Result<usize>, Stop> {
        while !self.wait(true, None)? {}
        Ok(io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map(std::fs::File::from)
            .and_then(|mut stdin| stdin.read(buffer)))
    }

    /// Something by which a thread ends a [`Self::pause`].
    pub(super) fn waker(&self) -> io::Result<Waker> {
        self.signals.waker()
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Whether standard input has news. Standard output is watched without asking for anything: a reader that is gone
    /// is reported all the same (poll(2)).
    fn wait(&self, for_input: bool, timeout: Option<Duration>) -> Result<bool, Stop> {
        if let Some(signal) = self.signals.caught() {
            return Err(Stop::Signal(signal));
        }
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let mut watched = vec![(stdout.as_fd(), PollFlags::empty())];
        if for_input {
            watched.push((stdin.as_fd(), PollFlags::POLLIN));
        }
        let news = self.signals.wait(&watched, timeout).map_err(Stop::System)?;
        if let Some(signal) = self.signals.caught() {
            return Err(Stop::Signal(signal));
        }
        if news.first().is_some_and(|&news| is_hung_up(news)) {
            return Err(Stop::CallerGone);
        }
        Ok(news.get(1).is_some_and(|news| !news.is_empty()))
    }
}
