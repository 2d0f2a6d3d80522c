//! The few things of the operating system that neither the standard library nor nix offer in the form needed here:
//! sockets at paths of any length, the identity of a process, inherited descriptors, the monotonic clock.
//!
//! `unsafe` is allowed in this crate's `descriptors` module alone (design, section 2).

pub mod descriptors;
pub mod process;
pub mod signals;
pub mod socket;

/// Nanoseconds of `CLOCK_MONOTONIC`, which all processes of one boot share; 0 should the kernel have no such clock.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let Ok(now) = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC) else { return 0 };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(now.tv_nsec()).unwrap_or(0))
}
