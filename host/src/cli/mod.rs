//! The commands of `qubes-host`.

mod exec;
mod failure;
mod ls;
mod open;
pub mod options;
mod place;
mod running;
mod serve;
pub mod story;
mod subject;

pub use failure::Failure;
pub(crate) use place::in_memory as directory_in_memory;

use options::{Command, UsageError};
use std::ffi::OsString;
use std::io::Write;

/// Runs one command line; returns the exit code. A failure is one line on stderr.
#[must_use]
pub fn main(words: &[OsString]) -> u8 {
    let result = match options::parse(words) {
        Ok(Command::Open(settings, subject)) => open::open(&settings, &subject),
        Ok(Command::Serve(settings)) => serve::serve(&settings),
        Ok(Command::Exec { state, qube, command }) => exec::exec(state.as_deref(), &qube, &command),
        Ok(Command::Ls { state, json }) => ls::ls(state.as_deref(), json),
        Ok(Command::Bench { json, only, xen: None }) => crate::bench::bench(json, &only),
        Ok(Command::Bench { json, only, xen: Some(rounds) }) => crate::bench::on_xen(json, &only, rounds),
        Ok(Command::Help) => {
            drop(std::io::stdout().write_all(options::HELP.as_bytes()));
            Ok(0)
        }
        Err(UsageError(text)) => Err(Failure::usage(text)),
    };
    result.unwrap_or_else(|failure| {
        drop(writeln!(std::io::stderr(), "qubes-host: {failure}"));
        failure.exit
    })
}
