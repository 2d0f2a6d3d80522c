//! qubes.WaitForRunningSystem and qubes.WaitForSession (spec/qrexec-exec.md, section 7).
//!
//! Where no systemd runs there is nothing to wait for: a qube without it is ready when its agent answers.

use crate::exit_code::{SUCCESS, TROUBLE, of};
use crate::say::say;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const SYSTEMD: &str = "/run/systemd/system";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
const QUBESDB_READ: &str = "/usr/bin/qubesdb-read";

/// Waits until the system has started; the result is systemd's verdict.
pub(crate) fn for_running_system() -> u8 {
    if !Path::new(SYSTEMD).is_dir() {
        return SUCCESS;
    }
    is_system_running("qubes.WaitForRunningSystem", &["--wait", "is-system-running"])
}

/// Waits until the user's session has started. Takes no argument.
pub(crate) fn for_session(args: &[OsString]) -> u8 {
    const PROGRAM: &str = "qubes.WaitForSession";
    if args.iter().any(|arg| !arg.is_empty()) {
        say(PROGRAM, &"this service takes no argument");
        return SUCCESS;
    }
    if !Path::new(SYSTEMD).is_dir() {
        return SUCCESS;
    }
    if qubesdb("/qubes-gui-enabled").as_deref() == Some("True") {
        let user = qubesdb("/default-user").filter(|user| !user.is_empty()).unwrap_or_else(|| "user".into());
        let server = PathBuf::from(format!("/var/run/qubes/qrexec-server.{user}.sock"));
        while !server.exists() {
            sleep(Duration::from_millis(100));
        }
    }
    is_system_running(PROGRAM, &["--user", "--wait", "is-system-running"])
}

fn is_system_running(program: &str, arguments: &[&str]) -> u8 {
    match Command::new(SYSTEMCTL).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) => of(status),
        Err(cause) => {
            say(program, &format_args!("cannot run {SYSTEMCTL}: {cause}"));
            TROUBLE
        }
    }
}

fn qubesdb(key: &str) -> Option<String> {
    let output = Command::new(QUBESDB_READ).arg(key).stdin(Stdio::null()).output().ok()?;
    let value = String::from_utf8(output.stdout).ok()?;
    Some(value.trim_end_matches('\n').to_owned()).filter(|value| !value.contains('/'))
}
