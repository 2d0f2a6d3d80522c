//! `qubes-host` and every program that it starts: one executable, told apart by its name.
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    qubes_host::main(&name, &words).into()
}
