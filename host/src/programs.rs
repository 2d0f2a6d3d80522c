//! One executable, many programs: which one runs is told by the name it was called by.

use crate::{bench, cli, lifeline};
use hypervisor::local;
use nix::sys::signal::SigSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Programs in qubes beside those of [`vm::PROGRAMS`].
pub(crate) const EXTRA: &[&str] = bench::PROGRAMS;

/// Runs the program called `name` (argv\[0\]) and returns its exit code. Any name that is no program's is the command
/// line of the host itself.
///
/// In dom0 the services qubes.OpenInVM and qubes.OpenURL are those that hand on; in a qube they are those that open.
/// dom0's programs are known by the variable `QUBES_DISPVM_CONFIG`, which no program in a qube has any use for.
#[must_use]
pub fn main(name: &OsStr, words: &[OsString]) -> u8 {
    // Whoever started us may block signals for reasons of its own, and a program inherits that.
    if let Err(error) = SigSet::empty().thread_set_mask() {
        log::warn!("signals stay blocked: {error}");
    }
    let name = Path::new(name).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let in_dom0 = std::env::var_os("QUBES_DISPVM_CONFIG").is_some();
    match name {
        local::SUPERVISOR => return local::supervisor_main(words),
        local::INIT => return local::init_main(words),
        _ => {}
    }
    // A second initialisation is no error worth telling.
    drop(env_logger::try_init_from_env(env_logger::Env::default().default_filter_or(if is_daemon(name) {
        "warn"
    } else {
        "error"
    })));
    // In the qubes of a bench, what is sent to be opened goes to the probe.
    if std::env::var_os(bench::VARIABLE).is_some() && matches!(name, "qubes.OpenInVM" | "qubes.PdfConvert") {
        return bench::run_program("bench-probe", words).unwrap_or(1);
    }
    // A service's words come from a qube, which need not know.
    let is_service = name.starts_with("qubes.");
    if let Some(code) = (!is_service).then(|| version::told(name, words)).flatten() {
        return code;
    }
    match name {
        "qrexec-daemon" => {
            lifeline::hold();
            qrexec::daemon::main(words)
        }
        "preload-dispvm" => {
            lifeline::hold();
            preload_dispvm::main(words)
        }
        "qubes.OpenInVM" | "open-in-vm" if in_dom0 => open_in_vm::main(),
        "qubes.OpenURL" | "open-url" if in_dom0 => open_url::main(),
        "qrexec-policy-exec" => qrexec_policy_exec::main(words),
        "qvm-dispvm" => qvm_dispvm::main(words),
        "qrexec-agent" => qrexec::agent::main(words),
        "qrexec-client-vm" => qrexec::client_vm::main(words),
        _ => vm::run(name, words)
            .or_else(|| bench::run_program(name, words))
            .unwrap_or_else(|| cli::main(words)),
    }
}

/// Programs whose stderr is a log file; on a user's terminal the story says what matters.
fn is_daemon(name: &str) -> bool {
    matches!(
        name,
        "qrexec-daemon"
            | "qrexec-agent"
            | "qrexec-policy-exec"
            | "preload-dispvm"
            | "qubes.OpenInVM"
            | "qubes.OpenURL"
    )
}
