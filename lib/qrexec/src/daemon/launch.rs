//! Going into the background: the parent starts this program again and waits until that one's sockets are there.
//!
//! A fork without exec is no way for a program with threads, and the parent needs the child's progress. So the child's
//! standard output is a pipe to the parent until the child is ready; then it becomes the log, as standard error is.

use super::options::Options;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Set for the child. Its name begins with QREXEC, so no service ever sees it.
const MARK: &str = "QREXEC_DAEMON_CHILD";

/// Whether this process was started by [`in_background`].
pub(super) fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Starts the daemon proper in a session of its own, waits for it if there is a limit to wait for, and gives the
/// parent's exit code (spec/qrexec-wire.md, section 3).
pub(super) fn in_background(options: &Options, args: &[OsString]) -> io::Result<u8> {
    let log = open_log(options)?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("qrexec-daemon")
        .args(args)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()?;
    let (true, Some(mut progress)) = (options.startup_limit.is_some(), child.stdout.take()) else {
        return Ok(0);
    };
    if !options.quiet {
        log::info!("waiting for the qrexec agent of {}", options.name);
    }
    let mut ready = [0];
    if progress.read(&mut ready)? == ready.len() {
        return Ok(0);
    }
    let status = child.wait()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).filter(|&code| code != 0).unwrap_or(1))
}

/// In the child, at its start.
pub(super) fn leave_session() {
    // Fails only for the leader of a group, which a child just spawned is not.
    if let Err(error) = nix::unistd::setsid() {
        log::warn!("making a session of its own: {error}");
    }
}

/// In the child, when its sockets are there: tells the parent and lets standard output be the log from now on.
pub(super) fn tell_parent() {
    // Past the buffer of standard output, which would keep what a parent that did not wait cannot take.
    if let Err(error) = nix::unistd::write(io::stdout(), &[0]) {
        log::debug!("telling the parent: {error}");
    }
    if let Err(error) = nix::unistd::dup2_stdout(io::stderr()) {
        log::warn!("turning standard output to the log: {error}");
    }
}

/// Where Qubes OS keeps its logs. On a machine without that directory the log goes where the parent's does.
fn open_log(options: &Options) -> io::Result<Stdio> {
    let dir = Path::new("/var/log/qubes");
    if !dir.is_dir() {
        return Ok(Stdio::inherit());
    }
    let path = dir.join(format!("qrexec.{}.log", options.name));
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o660).open(&path);
    opened
        .map(Stdio::from)
        .map_err(|error| io::Error::new(error.kind(), format!("opening the log {}: {error}", path.display())))
}
