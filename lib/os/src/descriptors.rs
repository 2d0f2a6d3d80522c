//! Descriptors that a process was given without asking, and descriptors of processes.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Closes every descriptor from 3 up (promise P10). To be called first in `main`, before anything was opened.
///
/// # Errors
/// The kernel's error, for example on kernels before 5.9, which lack `close_range(2)`.
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: close_range takes three integers and touches no memory. It is called before the process has opened
    // anything of its own, so no owner of a descriptor above 2 exists whose descriptor could be closed under it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor that means the process with this pid, even after its end (pidfd_open(2), Linux 5.3). Close-on-exec.
///
/// # Errors
/// The kernel's error; ESRCH when there is no such process.
pub(crate) fn of_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let descriptor = i32::try_from(result).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Sends a signal to the process that a descriptor of [`of_process`] means (pidfd_send_signal(2)).
pub(crate) fn signal_process(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: besides integers the call takes a pointer to a siginfo, which may be null.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor that polls readable as soon as the process `pid` has ended (pidfd_open(2)). It is close-on-exec.
///
/// For a child that has not been waited for, `pid` cannot mean another process.
///
/// # Errors
/// The kernel's: no such process; kernels before 5.3 know no such descriptor.
pub fn watch_process(pid: u32) -> io::Result<OwnedFd> {
    of_process(i32::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;

    #[test]
    fn the_end_of_a_process_is_seen() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let watch = watch_process(child.id()).unwrap();
        let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0));
        drop(child.stdin.take());
        assert_eq!(poll(&mut fds, PollTimeout::from(10_000u16)), Ok(1));
        assert!(child.try_wait().unwrap().is_some());
    }
}
