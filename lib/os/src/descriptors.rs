//! Descriptors that a process was given without asking.
#![allow(unsafe_code)]

use std::io;

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
