//! Doorbell of `qrexec-policy-exec`.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = version::told("qrexec-policy-exec", &words) {
        return code.into();
    }
    qrexec_policy_exec::main(&words).into()
}
