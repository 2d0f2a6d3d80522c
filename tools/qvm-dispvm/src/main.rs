//! Doorbell of `qvm-dispvm`.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = version::told("qvm-dispvm", &words) {
        return code.into();
    }
    qvm_dispvm::main(&words).into()
}
