//! The program in a qube that calls services elsewhere (spec/qrexec-wire.md, section 10).
//!
//! One request to the agent's socket, one answer with the place of the data channel, then a relay between that channel
//! and the own standard streams, or those of a local program.
//!
//! Not built: ring sizes (sockets have none; `--buffer-size` is checked and otherwise without effect).

mod error;
mod local;
mod options;
mod request;

pub use error::ClientVmError;

use crate::data::{self, CallEnd};
use local::Streams;
use options::{Options, Parsed};
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

/// Calls a service and returns the exit code: the service's, else that of the local program, else one of our own
/// (1 trouble, 2 usage, 126 refused, 255 the data channel closed early).
///
/// `args` are without the program's name: `[options] TARGET SERVICE[+ARG] [PROGRAM [ARGS...]]`, as upstream's.
/// Environment: `QREXEC_AGENT_SOCKET` (default of `--agent-socket`, else `/var/run/qubes/qrexec-agent`),
/// `VCHAN_SOCKET_DIR`, `VCHAN_DOMAIN`, `PASS_LOCAL_STDERR`.
#[must_use]
pub fn main(args: &[OsString]) -> u8 {
    let options = match Options::parse(args) {
        Parsed::Run(options) => options,
        Parsed::Help(text) => {
            // A closed output is no reason to fail.
            let _: std::io::Result<()> = std::io::stdout().write_all(text.as_bytes());
            return 0;
        }
        Parsed::Usage(misuse) => {
            let _: std::io::Result<()> = std::io::stderr().write_all(misuse.text.as_bytes());
            return misuse.code;
        }
    };
    run(&options).unwrap_or_else(|error| {
        let line = match error {
            ClientVmError::Refused => "Request refused\n".to_owned(),
            _ => format!("qrexec-client-vm: {error}\n"),
        };
        let _: std::io::Result<()> = std::io::stderr().write_all(line.as_bytes());
        error.exit_code()
    })
}

fn run(options: &Options) -> Result<u8, ClientVmError> {
    // Held until the end: when it closes, the agent reports the end of the call.
    let (agent, peer) = request::request(options)?;
    let config = vchan::Config::from_env();
    let unmade = |cause| ClientVmError::Vchan(config.path(config.own, peer.domain, peer.port), cause);
    let server = vchan::Server::bind(&config, peer.domain, peer.port).map_err(unmade)?;
    let Streams { input, output, errors, program, wish } = local::streams(options)?;
    request::wait_for_peer(&server, &agent, CONNECT_LIMIT)?;
    let vchan = server.accept(Some(CONNECT_LIMIT)).map_err(unmade)?;
    let report = data::call(vchan, input, output, errors.into(), &data::Options { wish, ..options.data() })
        .map_err(ClientVmError::Data)?;
    let local_code = program.map_or(0, local::Program::wait);
    Ok(match report.end {
        CallEnd::Exit(0) => local_code,
        // A code that no process can have must not be cut down to a success (promise P12).
        end => u8::try_from(end.code()).unwrap_or(255),
    })
}

/// What the kernel passes on of an exit code.
fn low_byte(code: i32) -> u8 {
    let [low, ..] = code.to_le_bytes();
    low
}

/// How long the service's side may take to connect (spec/qrexec-wire.md 7.1).
const CONNECT_LIMIT: Duration = Duration::from_secs(120);
