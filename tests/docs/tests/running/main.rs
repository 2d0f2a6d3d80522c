//! The pages' commands and the service that docs/develop.md adds, run for real.
//!
//! No test harness: this executable is `qubes-host` too, as whoever links its library is, and answers to that name and to
//! those of the programs that a host starts. So no test here waits for cargo to build the host once more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod added_service;
mod shell;
mod usage;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap();
    let words: Vec<OsString> = words.collect();
    // Cargo names the executable of a test NAME-HASH.
    if !Path::new(&name).file_name().unwrap().to_string_lossy().starts_with("running-") {
        return qubes_host::main(&name, &words).into();
    }
    let tests: [(&str, fn()); 4] = [
        ("a_service_of_a_few_lines_hands_a_stream_to_a_disposable", added_service::is_called),
        ("blocks_of_shell_commands_run", shell::blocks_run),
        ("commands_in_the_prose_are_known", usage::commands_in_the_prose_are_known),
        ("usage_is_what_the_programs_say", usage::is_the_programs_own),
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

/// Builds an executable of the workspace that no test has with it, as whoever changes it does. With the whole workspace's
/// features: where all tests run, its libraries are built already.
fn built(program: &str) -> PathBuf {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--workspace", "--bin", program])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success());
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join(program)
}
