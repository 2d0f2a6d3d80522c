//! Doorbell of the keeper.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(code) = version::told("preload-dispvm", &arguments) {
        return code.into();
    }
    preload_dispvm::main(&arguments).into()
}
