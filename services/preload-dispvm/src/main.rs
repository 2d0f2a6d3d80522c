//! Doorbell of the keeper.
#![allow(clippy::print_stdout, reason = "--version")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if version::is_asked(&arguments) {
        println!("{}", version::line("preload-dispvm"));
        return ExitCode::SUCCESS;
    }
    preload_dispvm::main(&arguments).into()
}
