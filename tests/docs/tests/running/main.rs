//! The pages' commands and the service that docs/develop.md adds, run for real.
//!
//! No test harness: this executable is `qubes-host` too, as whoever links its library is, and answers to that name and to
//! those of the programs that a host starts. So no test here waits for cargo to build the host once more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod added_service;
mod shell;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap();
    let words: Vec<OsString> = words.collect();
    // Cargo names the executable of a test NAME-HASH.
    if !Path::new(&name).file_name().unwrap().to_string_lossy().starts_with("running-") {
        return qubes_host::main(&name, &words).into();
    }
    let tests: [(&str, fn()); 2] = [
        ("a_service_of_a_few_lines_hands_a_stream_to_a_disposable", added_service::is_called),
        ("blocks_of_shell_commands_run", shell::blocks_run),
    ];
    let is_listing = words.iter().any(|word| word == "--list");
    let wanted: Vec<_> =
        words.iter().filter_map(|word| word.to_str()).filter(|word| !word.starts_with('-')).collect();
    for (name, test) in tests {
        if is_listing {
            println!("{name}: test");
        } else if wanted.is_empty() || wanted.iter().any(|part| name.contains(part)) {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}
