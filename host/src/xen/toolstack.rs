//! `xl`, Xen's own toolstack, as a program.

use names::DomId;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Makes a domain, running. Should this process die meanwhile, `xl` dies with it and leaves what it has made so far: a
/// later host finds that by its identity, as it would not find what an `xl` that lives on makes later (promise P5).
///
/// # Errors
/// What `xl` said, with a remedy where there is one.
pub(super) fn create(configuration: &Path) -> Result<(), String> {
    // -e: no process of xl stays to wait for the domain's end; this host does.
    let path = configuration.to_string_lossy();
    run(&["create", "-e", "-q", &path], os::leash::end_with_parent).map_err(|text| with_remedy(&text))
}

/// Ends a domain and removes what xenstore has of it. What was begun is brought to its end even when this process dies.
///
/// # Errors
/// What `xl` said.
pub(super) fn destroy(domid: DomId) -> Result<(), String> {
    run(&["destroy", &domid.to_string()], |_| {})
}

/// Runs it to its end; what it complained of.
fn run(words: &[&str], prepare: impl FnOnce(&mut Command)) -> Result<(), String> {
    let mut command = Command::new("xl");
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // A group of its own: Ctrl-C on the terminal is for the host.
    command.process_group(0);
    prepare(&mut command);
    let mut child = command
        .spawn()
        .map_err(|error| format!("cannot run xl ({error}); install Xen's tools (Debian: xen-utils)"))?;
    let pid = i32::try_from(child.id()).unwrap_or(i32::MAX);
    let mut errors = child.stderr.take();
    let (done, is_done) = channel();
    thread::spawn(move || {
        let mut complaint = Vec::new();
        drop(errors.as_mut().map(|pipe| pipe.read_to_end(&mut complaint)));
        drop(done.send(complaint));
    });
    let complaint = match is_done.recv_timeout(PATIENCE) {
        Ok(complaint) => complaint,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            let _: nix::Result<()> = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            drop(child.wait());
            return Err(format!("xl {} did not end within {} s", words.join(" "), PATIENCE.as_secs()));
        }
    };
    let status = child.wait().map_err(|error| format!("waiting for xl: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let lines = String::from_utf8_lossy(&complaint).lines().map(str::trim).collect::<Vec<_>>().join("; ");
    Err(format!("xl {}: {}", words.first().unwrap_or(&""), names::printable(lines.as_bytes())))
}

/// What an administrator can do about it.
fn with_remedy(complaint: &str) -> String {
    let has = |part: &str| complaint.to_ascii_lowercase().contains(part);
    let remedy = if has("memory") || has("out of mem") || has("enomem") {
        "; too little memory is free (xl info): end a qube, preload fewer, or give qubes less (QUBES_XEN_MEMORY)"
    } else if has("permission denied") || has("privcmd") {
        "; run this as root in dom0 of a Xen machine"
    } else {
        ""
    };
    format!("{complaint}{remedy}")
}

/// Under emulation a domain takes up to 20 s to be made.
const PATIENCE: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_a_want_of_memory_and_of_rights_have_their_remedy() {
        assert!(with_remedy("libxl: failed to free memory for the domain").contains("preload fewer"));
        assert!(with_remedy("xencall: Could not obtain handle: Permission denied").contains("as root"));
        assert_eq!(with_remedy("something else"), "something else");
    }
}
