//! The process of a service.

use crate::wire::exit_code;
use nix::poll::PollTimeout;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

/// A child whose end is waited for along with everything else.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    watch: Option<OwnedFd>,
    code: Option<i32>,
}

impl Process {
    pub(super) fn new(child: Child) -> Self {
        let watch = os::descriptors::watch_process(child.id());
        if let Err(error) = &watch {
            log::debug!("looking after process {} by the clock: {error}", child.id());
        }
        Self { child, watch: watch.ok(), code: None }
    }

    /// Polls readable when the process has ended; `None` once that is known, or where the kernel has no such thing.
    pub(super) fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().filter(|_| self.code.is_none()).map(AsFd::as_fd)
    }

    /// How long to wait at most before [`Self::reap`] is to be asked again.
    pub(super) fn tick(&self) -> PollTimeout {
        if self.code.is_none() && self.watch.is_none() { BLIND_TICK.into() } else { PollTimeout::NONE }
    }

    /// The exit code, when the process has just ended; `None` before and after.
    pub(super) fn reap(&mut self) -> io::Result<Option<i32>> {
        if self.code.is_some() {
            return Ok(None);
        }
        self.code = self.child.try_wait()?.map(code_of);
        Ok(self.code)
    }

    /// Waits for the process, however long it takes.
    pub(super) fn wait(&mut self) -> io::Result<i32> {
        let code = match self.code {
            Some(code) => code,
            None => code_of(self.child.wait()?),
        };
        self.code = Some(code);
        Ok(code)
    }
}

/// 128 and the signal's number for a process that was killed (spec/qrexec-wire.md 7.3).
fn code_of(status: ExitStatus) -> i32 {
    let killed = status.signal().map(|signal| exit_code::SIGNAL_BASE + signal);
    status.code().or(killed).unwrap_or(exit_code::LOST)
}

const BLIND_TICK: u16 = 20;
