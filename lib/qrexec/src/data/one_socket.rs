//! A program's standard input, kept for reading in case the program wants to use it both ways.

use super::local::Local;
use super::wishes::Wish;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

/// The reading half of a program's standard input, and the program's wish that it be read.
pub(super) struct OneSocket {
    wish: Arc<Wish>,
    socket: Local,
}

/// What is known of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    No,
    Yes,
    /// The program has closed its standard input.
    Never,
}

impl OneSocket {
    /// `None` when no wish can come, or the program's input is no socket.
    pub(super) fn prepare(wish: Option<&Arc<Wish>>, output: &mut Local) -> io::Result<Option<Self>> {
        let Some(wish) = wish else { return Ok(None) };
        Ok(output.reading_half()?.map(|socket| Self { wish: Arc::clone(wish), socket }))
    }

    /// What is known without asking the kernel, unless this program may have been the one.
    pub(super) fn wanted(&self) -> Wanted {
        match () {
            () if self.wish.is_certain() => Wanted::Yes,
            () if self.wish.is_possible() => self.spoken(),
            () => Wanted::No,
        }
    }

    /// The same for a program that writes no more to its standard output, be it because of its wish.
    pub(super) fn is_wanted_by_now(&self) -> bool {
        match self.spoken() {
            // Closed, as by every program that has ended.
            Wanted::Never => self.wish.is_certain(),
            // Nobody writes to the standard input otherwise; without the signal that means nothing.
            spoken => self.wish.is_certain_by_now() || (self.wish.is_possible() && spoken == Wanted::Yes),
        }
    }

    fn spoken(&self) -> Wanted {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        match recv(self.socket.as_fd().as_raw_fd(), &mut [0], flags) {
            Ok(0) => Wanted::Never,
            Ok(_) => Wanted::Yes,
            Err(Errno::EAGAIN | Errno::EINTR) => Wanted::No,
            Err(_) => Wanted::Never,
        }
    }

    /// Polls readable when a wish came.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.wish.as_fd()
    }

    /// Polls readable when the program writes to its standard input; `None` while that would not matter.
    pub(super) fn watch(&self) -> Option<BorrowedFd<'_>> {
        (self.wish.is_possible() && !self.wish.is_certain()).then(|| self.socket.as_fd())
    }

    /// To be called when the bell rang.
    pub(super) fn look(&self) {
        self.wish.look();
    }

    /// Takes the place of the program's standard output.
    pub(super) fn into_input(self) -> Local {
        self.socket
    }
}
