//! The way into a program: straight from C's `main`, past the standard library's own preparations.
//!
//! A program of a call lives for a millisecond or two, and two or three of them are started on its way. What the standard
//! library does before `main` costs a seventh of such a start: it reads /proc/self/maps to find the end of the stack and
//! makes an alternate stack in every thread, so that an overflow can be told in words. Here an overflow is a plain
//! SIGSEGV: the guard page stays. Everything else that it does is done here too.
#![allow(unsafe_code)]
#![allow(clippy::exit, reason = "this is where programs end")]

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use std::ffi::OsString;
use std::os::fd::{BorrowedFd, IntoRawFd};

/// Makes a function `fn(OsString, Vec<OsString>) -> u8` (its name, argv\[0\], and its words) the `main` of a program whose
/// first line is `#![no_main]`. Its result is the exit code.
#[macro_export]
macro_rules! program {
    ($main:expr) => {
        const _: () = {
            // SAFETY: a program has one such symbol; C's start-up code calls it once, with these arguments.
            #[unsafe(export_name = "main")]
            extern "C" fn entry(_count: i32, _words: *const *const u8) -> i32 {
                $crate::program::run($main)
            }
        };
    };
}

/// Runs `main` as the standard library would; ends the process.
#[doc(hidden)]
pub fn run(main: impl FnOnce(OsString, Vec<OsString>) -> u8) -> ! {
    fill_standard_streams();
    // A reader that went away is an error of the write, not the end of the process.
    // SAFETY: no handler of ours is put in place, and nothing has been started that could rely on another.
    let ignored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    debug_assert!(ignored.is_ok(), "SIGPIPE is a signal that can be ignored");
    one_arena();
    // glibc hands the words to the standard library before C's `main`.
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let code = main(name, words.collect());
    // Writes what standard output still holds.
    std::process::exit(code.into())
}

/// A closed standard stream would be the number of the next file that is opened, and words for people would go there.
fn fill_standard_streams() {
    for number in 0..3 {
        // SAFETY: it is only asked whether the descriptor is open, which is no error to ask of one that is not.
        let stream = unsafe { BorrowedFd::borrow_raw(number) };
        if fcntl(stream, FcntlArg::F_GETFD).is_err() {
            match open("/dev/null", OFlag::O_RDWR, Mode::empty()) {
                // The lowest free number is this one; it stays open to the end.
                Ok(null) => drop(null.into_raw_fd()),
                // Nothing may be opened in its place, so nothing is done at all.
                Err(_) => std::process::abort(),
            }
        }
    }
}

/// Each thread would get 64 MiB of addresses and pages of its own from the allocator, on its first allocation: dearer than
/// the few that ours make, one after the other.
fn one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a setting of the allocator, made while there is one thread; it takes no pointer.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
