//! Doorbell of the keeper.
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    preload_dispvm::main(&arguments).into()
}
