//! qrexec-daemon; see [`qrexec::daemon`].

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    ExitCode::from(qrexec::daemon::main(&args))
}
