//! The supervisor and first process of a local qube as an executable of their own, for those who do not link them into
//! theirs.

use hypervisor::local;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    if os::descriptors::close_inherited().is_err() {
        return ExitCode::from(125);
    }
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let args: Vec<OsString> = args.collect();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some(local::INIT) => ExitCode::from(local::init_main(&args)),
        _ => ExitCode::from(local::supervisor_main(&args)),
    }
}
