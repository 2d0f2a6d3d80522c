//! The dom0 provider of `qubes.OpenURL`: a doorbell; the story is in [`disposable::call`].
#![forbid(unsafe_code)]

/// Serves one call; returns the exit code (promise P9).
#[must_use]
pub fn main() -> u8 {
    // Where a host that links this has begun to log already, that is no error.
    drop(env_logger::try_init_from_env(env_logger::Env::default().default_filter_or("warn")));
    disposable::call::main("qubes.OpenURL")
}
