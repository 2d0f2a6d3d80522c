//! What runs inside a qube: the command that opens a file or URL elsewhere, and the services that open what others send.
//!
//! One executable answers to all the names in [`PROGRAMS`]; [`run`] tells them apart. The life of one opened file
//! (spec/open-file.md, sections 1 and 2):
//!
//! | step | where |
//! |---|---|
//! | words to an order | `command_line`, `subject` |
//! | the original is opened and remembered | `opener::original` |
//! | `qrexec-client-vm` is started, name field and content are sent | `opener::call`, `name_field` |
//! | in the other qube: name and content become a file in a directory of its own | `service::open_in_vm` |
//! | the application runs; whoever holds the file, or was given it over D-Bus, is waited for | `service::application`, `service::holders`, `service::takers` |
//! | changed content goes back | `service::content` |
//! | what comes back is written beside the original | `opener::reception` |
//! | the original is replaced, or what came back is kept and named | `decision`, `opener::exchange`, `opener::keep` |
//!
//! Environment, beside what qrexec sets (spec/qrexec-exec.md 5.1) and `HOME`, `TMPDIR`, `PATH`:
//!
//! | variable | read by | meaning |
//! |---|---|---|
//! | `QREXEC_CLIENT_VM` | qvm-open-in-vm | the program that makes calls; default: beside the own program, then the usual places |
//! | `QUBES_STORY` | qvm-open-in-vm | not empty: tell on stderr what was sent, what came back and what became of it |
//! | `QUBES_OPEN_MAX_REPLY` | qvm-open-in-vm | the most bytes taken back; default 4 GiB or four times the file's size |
//! | `QUBES_OPEN_AT_ONCE` | qvm-open-in-vm | how many of several files are open at the same time, 1 to 16; default 3 |
//! | `QUBES_OPEN_NOTIFY` | qvm-open-in-vm | the program that shows notifications, called as notify-send or, with that name, as gdbus; default: the first of these in /usr/bin |
//! | `DISPLAY`, `WAYLAND_DISPLAY` | qvm-open-in-vm | not empty, and no standard stream is a terminal: what happens is shown as a notification |
//! | `DBUS_SESSION_BUS_ADDRESS`, `XDG_RUNTIME_DIR` | services | the session's bus, over which applications are asked to open the file or URL |
//! | `QUBES_OPEN_WITH` | services | the application as a command line; default xdg-open |
//! | `QUBES_OPEN_GRACE` | services | milliseconds to wait for another process to take the file over after an application that ended well without a change; default 300, with xdg-open 1000 |
#![forbid(unsafe_code)]

pub mod receiving;
pub mod subject;
pub mod vmexec;

mod command_line;
mod command_words;
mod decision;
mod emptied;
mod exit_code;
mod landing;
mod name_field;
mod opener;
mod say;
mod service;
mod shown;
mod signals;
mod url;

use std::ffi::OsString;

/// The names that [`run`] answers to.
pub const PROGRAMS: &[&str] = &[
    "qrexec-agent",
    "qrexec-client-vm",
    "qubes.OpenInVM",
    "qubes.OpenURL",
    "qubes.VMExec",
    "qubes.WaitForRunningSystem",
    "qubes.WaitForSession",
    "qvm-open-in-dvm",
    "qvm-open-in-vm",
];

/// The services of a qube and the program that each is, to be found under its name in a service directory
/// (spec/qrexec-exec.md, section 2).
pub const SERVICES: &[(&str, &str)] = &[
    ("qubes.OpenInVM", "qubes.OpenInVM"),
    ("qubes.OpenURL", "qubes.OpenURL"),
    ("qubes.VMExec", "qubes.VMExec"),
    ("qubes.WaitForRunningSystem", "qubes.WaitForRunningSystem"),
    ("qubes.WaitForSession", "qubes.WaitForSession"),
];

/// The configuration file of a service, by the service's name (spec/qrexec-exec.md, section 6). A service without an
/// entry needs no file.
pub const RPC_CONFIG: &[(&str, &str)] =
    &[("qubes.OpenInVM", "wait-for-session=1\n"), ("qubes.OpenURL", "wait-for-session=1\n")];

/// Runs the program called `name` with these arguments (without its own name) and returns its exit code; `None` when
/// `name` is not in [`PROGRAMS`].
///
/// A file or URL that is opened costs the exit code of its call (promise P9): 126 refused, 125 trouble on the way, 127 no
/// service or application there, 255 connection lost, 128 + n ended by signal n, else the application's own, where 126
/// becomes 1; 2 is a wrong command line, 1 everything else that stderr explains.
///
/// Reads environment and standard streams of this process and installs signal handlers in it: a process runs one
/// program and ends.
#[must_use]
pub fn run(name: &str, args: &[OsString]) -> Option<u8> {
    Some(match name {
        "qvm-open-in-vm" => opener::main(command_line::Program::OpenInVm, args),
        "qvm-open-in-dvm" => opener::main(command_line::Program::OpenInDvm, args),
        "qubes.OpenInVM" => service::open_in_vm::main(),
        "qubes.OpenURL" => service::open_url::main(),
        "qubes.VMExec" => service::vm_exec::main(args),
        "qubes.WaitForRunningSystem" => service::wait::for_running_system(),
        "qubes.WaitForSession" => service::wait::for_session(args),
        "qrexec-agent" => {
            log_to_stderr();
            qrexec::agent::main(args)
        }
        "qrexec-client-vm" => {
            log_to_stderr();
            qrexec::client_vm::main(args)
        }
        _ => return None,
    })
}

fn log_to_stderr() {
    // Whoever called us may have chosen a logger already, which then stays.
    drop(env_logger::try_init());
}
