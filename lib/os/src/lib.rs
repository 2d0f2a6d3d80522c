//! The few things of the operating system that neither the standard library nor nix offer in the form needed here:
//! sockets at paths of any length, the identity of a process, inherited descriptors, the monotonic clock, waiting for a
//! directory to change, who gets the CPU first; and the way into a program.
//!
//! `unsafe` is allowed in this crate's modules `descriptors`, `leash`, `scheduling`, `signals` and `program` alone (design, section 2).

pub mod descriptors;
pub mod leash;
pub mod process;
pub mod program;
pub mod scheduling;
pub mod signals;
pub mod socket;
pub mod watch;

/// Reads a file of a few kilobytes, such as those in /proc, with as few system calls as there can be. Bytes that are no UTF-8 are
/// replaced: a process can give itself any name, and must not be overlooked for that.
///
/// # Errors
/// As [`std::fs::read`]; a file of over 64 KiB is cut there.
pub fn read_small(path: impl AsRef<std::path::Path>) -> std::io::Result<String> {
    use std::io::Read;
    // With room to begin with, one read gets all; without, the first reads are of 32 bytes.
    let mut bytes = Vec::with_capacity(4096);
    std::fs::File::open(path)?.take(64 * 1024).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned()))
}

/// Nanoseconds of `CLOCK_MONOTONIC`, which all processes of one boot share; 0 should the kernel have no such clock.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC) else { return 0 };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec()).unwrap_or(0))
}
