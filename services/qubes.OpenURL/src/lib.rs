//! The dom0 provider of `qubes.OpenURL`: a doorbell; the story is in [`disposable::call`].
#![forbid(unsafe_code)]

/// Serves one call; returns the exit code (promise P9).
#[must_use]
pub fn main() -> u8 {
    disposable::call::main("qubes.OpenURL")
}
