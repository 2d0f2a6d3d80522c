//! The program in the qube that starts services there and passes on the requests of programs there
//! (spec/qrexec-wire.md 2 and 8, spec/qrexec-exec.md).
//!
//! One thread polls the control vchan, the trigger socket and the local programs; its protocol is a pure state machine
//! (`core`, `requests`). Each call has a thread of its own, which starts the service first and opens the data channel
//! while that comes up. The end of the control vchan ends the agent, and with it all calls.
//!
//! Where this differs from upstream's agent on purpose: a slow local program stalls nobody, requests are numbered and no
//! number is used twice, a request whose program has left frees its port, a lost daemon ends the agent at once with
//! exit code 1, the end of every call is reported (upstream stops at 256), and there is no fork server. Not built:
//! becoming another user ([`crate::exec`]).

mod call;
mod core;
mod driver;
mod error;
mod meminfo;
mod notify;
mod options;
mod requests;
mod session;
mod trigger_socket;

pub use error::AgentError;

use options::{Options, Parsed};
use std::ffi::OsString;
use std::io::Write;

/// Runs the agent until SIGTERM or SIGINT (0) or until the daemon is lost or anything else fails (1). Usage errors and
/// `--help` give 2.
///
/// `args` are without the program's name. Options: `-a`/`--agent-socket=PATH` (default: `QREXEC_AGENT_SOCKET`, else
/// `/var/run/qubes/qrexec-agent`), `-s`/`--fork-server-socket=PATTERN` and `-S`/`--no-fork-server` (accepted, without
/// effect), `-h`/`--help`. Environment: `VCHAN_SOCKET_DIR`, `VCHAN_DOMAIN`, `QREXEC_SERVICE_PATH`,
/// `QUBES_RPC_CONFIG_PATH`, `NOTIFY_SOCKET`.
///
/// It takes over SIGTERM, SIGINT and SIGUSR1 of the process.
#[must_use]
pub fn main(args: &[OsString]) -> u8 {
    let options = match Options::parse(args) {
        Parsed::Run(options) => options,
        Parsed::Usage(text) => {
            // With standard error closed there is nobody left to tell.
            let _: std::io::Result<()> = std::io::stderr().write_all(text.as_bytes());
            return 2;
        }
    };
    match driver::run(&options) {
        Ok(()) => 0,
        Err(error) => {
            log::error!("{error}");
            1
        }
    }
}
