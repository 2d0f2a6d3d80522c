//! Doorbell of `qvm-dispvm`.
#![allow(clippy::print_stdout, reason = "--version")]

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if version::is_asked(&words) {
        println!("{}", version::line("qvm-dispvm"));
        return ExitCode::SUCCESS;
    }
    qvm_dispvm::main(&words).into()
}
