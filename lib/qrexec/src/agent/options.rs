//! The agent's command line.

use crate::arguments::{Known, scan};
use qubes_qrexec_sys::path::AGENT_TRIGGER_SOCKET;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Where local programs reach us.
    pub(super) socket: PathBuf,
}

pub(super) enum Parsed {
    Run(Options),
    Usage(String),
}

impl Options {
    pub(super) fn parse(args: &[OsString]) -> Parsed {
        let (given, rest) = match scan(args, KNOWN) {
            Ok(scanned) => scanned,
            Err(error) => return Parsed::Usage(format!("qrexec-agent: {error}\n{USAGE}")),
        };
        if !rest.is_empty() || given.iter().any(|(name, _)| *name == "help") {
            return Parsed::Usage(USAGE.to_owned());
        }
        let socket = given.into_iter().rev().find(|(name, _)| *name == "agent-socket").map(|(_, path)| path);
        let socket = socket.or_else(|| std::env::var_os("QREXEC_AGENT_SOCKET"));
        Parsed::Run(Self { socket: socket.unwrap_or_else(|| AGENT_TRIGGER_SOCKET.into()).into() })
    }
}

const KNOWN: &[Known] = &[
    Known { short: b'h', long: "help", valued: false },
    Known { short: b'a', long: "agent-socket", valued: true },
    Known { short: b's', long: "fork-server-socket", valued: true },
    Known { short: b'S', long: "no-fork-server", valued: false },
];

const USAGE: &str = "\
usage: qrexec-agent [options]
  -h, --help                         this text
  -a, --agent-socket=PATH            where local programs reach the agent
  -s, --fork-server-socket=PATTERN   accepted, without effect: services are started directly
  -S, --no-fork-server               accepted, without effect
";
