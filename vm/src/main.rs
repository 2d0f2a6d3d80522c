//! The doorbell of all in-qube programs: answers to the name it was called by, or to its first argument.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr)]

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    if os::descriptors::close_inherited().is_err() {
        // A kernel before 5.9: nothing is closed here. Whatever we open ourselves is close-on-exec all the same.
    }
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    let args: Vec<OsString> = words.collect();
    let name = Path::new(&called).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = args.split_first().and_then(|(first, rest)| vm::run(first.to_str()?, rest));
    match if vm::PROGRAMS.contains(&name) { vm::run(name, &args) } else { named } {
        Some(code) => ExitCode::from(code),
        None => {
            eprintln!("usage: qubes-vm PROGRAM [ARGUMENT...], PROGRAM one of: {}", vm::PROGRAMS.join(" "));
            ExitCode::from(2)
        }
    }
}
