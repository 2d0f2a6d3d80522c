//! The command line (spec/qrexec-wire.md, section 10).

use crate::arguments::{Known, scan};
use crate::data;
use nix::sys::socket::{SockType, getsockopt, sockopt};
use qubes_qrexec_sys::path::AGENT_TRIGGER_SOCKET;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

#[derive(Debug)]
pub(super) struct Options {
    pub(super) agent_socket: PathBuf,
    /// Empty when not given.
    pub(super) source: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) service: Vec<u8>,
    /// Local program and its arguments; empty when there is none.
    pub(super) program: Vec<OsString>,
    /// Descriptor 0 is a socket for both directions.
    pub(super) stdin_socket: bool,
    prefix: Vec<u8>,
    filter_stdout: Option<bool>,
    filter_stderr: Option<bool>,
}

pub(super) enum Parsed {
    Run(Options),
    Help(&'static str),
    Usage(Misuse),
}

/// What to say about arguments that cannot be used, and the exit code.
#[derive(Debug)]
pub(super) struct Misuse {
    pub(super) text: String,
    pub(super) code: u8,
}

impl Options {
    pub(super) fn parse(args: &[OsString]) -> Parsed {
        let (given, mut rest) = match scan(args, KNOWN) {
            Ok(scanned) => scanned,
            Err(error) => return Parsed::Usage(usage(&error.to_string())),
        };
        if given.iter().any(|(name, _)| *name == "help") {
            return Parsed::Help(USAGE);
        }
        if rest.len() < 2 {
            return Parsed::Usage(usage("target and service are needed"));
        }
        let program = rest.split_off(2);
        let service = rest.pop().unwrap_or_default().into_vec();
        let target = rest.pop().unwrap_or_default().into_vec();
        let mut options = Self {
            agent_socket: default_socket(),
            source: Vec::new(),
            target: target.into_iter().map(|byte| if byte == b'$' { b'@' } else { byte }).collect(),
            service,
            program,
            stdin_socket: false,
            prefix: Vec::new(),
            filter_stdout: None,
            filter_stderr: None,
        };
        let mut once = Vec::new();
        for (name, value) in given {
            if ONCE.contains(&name) {
                if once.contains(&name) {
                    return Parsed::Usage(usage(&format!("--{name} may be given once")));
                }
                once.push(name);
            }
            if let Err(misuse) = options.take(name, value) {
                return Parsed::Usage(misuse);
            }
        }
        if options.stdin_socket && !options.program.is_empty() {
            return Parsed::Usage(usage("--use-stdin-socket cannot be used with a local program"));
        }
        Parsed::Run(options)
    }

    fn take(&mut self, name: &str, value: OsString) -> Result<(), Misuse> {
        match name {
            "agent-socket" => self.agent_socket = value.into(),
            "source-qube" => self.source = value.into_vec(),
            "prefix-data" => self.prefix = value.into_vec(),
            "filter-escape-chars-stdout" => self.filter_stdout = Some(true),
            "filter-escape-chars-stderr" => self.filter_stderr = Some(true),
            "no-filter-escape-chars-stdout" => self.filter_stdout = Some(false),
            "no-filter-escape-chars-stderr" => self.filter_stderr = Some(false),
            "buffer-size" => check_buffer_size(&value)?,
            "use-stdin-socket" => {
                self.stdin_socket = true;
                match getsockopt(&std::io::stdin(), sockopt::SockType) {
                    Ok(SockType::Stream) => {}
                    _ => return Err(usage("--use-stdin-socket needs a stream socket as standard input")),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Filters that were not asked for are on where a terminal shows the output.
    pub(super) fn data(&self) -> data::Options {
        let on_terminal = || self.program.is_empty() && std::io::stdout().is_terminal();
        data::Options {
            filter_stdout: self.filter_stdout.unwrap_or_else(on_terminal),
            filter_stderr: self.filter_stderr.unwrap_or_else(|| std::io::stderr().is_terminal()),
            prefix: self.prefix.clone(),
            ..data::Options::default()
        }
    }
}

fn default_socket() -> PathBuf {
    std::env::var_os("QREXEC_AGENT_SOCKET").unwrap_or_else(|| AGENT_TRIGGER_SOCKET.into()).into()
}

fn usage(cause: &str) -> Misuse {
    Misuse { text: format!("qrexec-client-vm: {cause}\n{USAGE}"), code: 2 }
}

/// A C number: decimal, octal with a leading 0, hexadecimal with 0x; at most 2^31 - 1. Sockets have no ring to size.
fn check_buffer_size(value: &OsStr) -> Result<(), Misuse> {
    let text = value.to_str().unwrap_or_default();
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let plain = !digits.starts_with(['+', '-']);
    match u32::from_str_radix(digits, radix) {
        Ok(0..=0x7fff_ffff) if plain => Ok(()),
        _ => {
            let shown = names::printable(value.as_bytes());
            let text = format!(
                "qrexec-client-vm: \"{shown}\" is no buffer size, which is a number up to 2147483647\n"
            );
            Err(Misuse { text, code: 1 })
        }
    }
}

const KNOWN: &[Known] = &[
    Known { short: 0, long: "buffer-size", valued: true },
    Known { short: b't', long: "filter-escape-chars-stdout", valued: false },
    Known { short: b'T', long: "filter-escape-chars-stderr", valued: false },
    Known { short: 0, long: "no-filter-escape-chars-stdout", valued: false },
    Known { short: 0, long: "no-filter-escape-chars-stderr", valued: false },
    Known { short: b'a', long: "agent-socket", valued: true },
    Known { short: b'p', long: "prefix-data", valued: true },
    Known { short: 0, long: "use-stdin-socket", valued: false },
    Known { short: b's', long: "source-qube", valued: true },
    Known { short: b'h', long: "help", valued: false },
];

const ONCE: &[&str] = &["prefix-data", "source-qube", "use-stdin-socket"];

const USAGE: &str = "\
usage: qrexec-client-vm [options] TARGET SERVICE[+ARG] [PROGRAM [ARGS...]]
      --buffer-size=N                   checked, without effect over sockets
  -t, --filter-escape-chars-stdout      replace bytes that could steer a terminal in standard output
  -T, --filter-escape-chars-stderr      the same for standard error
      --no-filter-escape-chars-stdout   do not (the default unless it is a terminal)
      --no-filter-escape-chars-stderr   the same for standard error
  -a, --agent-socket=PATH               where the agent listens
  -p, --prefix-data=DATA                sent before standard input
      --use-stdin-socket                standard input is a socket for both directions
  -s, --source-qube=NAME                the qube that the call is made for
  -h, --help                            this text
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, u8> {
        match Options::parse(&args.iter().map(OsString::from).collect::<Vec<_>>()) {
            Parsed::Run(options) => Ok(options),
            Parsed::Help(_) => Err(0),
            Parsed::Usage(misuse) => Err(misuse.code),
        }
    }

    #[test]
    fn everything() {
        let options = parse(&[
            "-tT",
            "-a",
            "/s",
            "-p",
            "data",
            "-s",
            "work",
            "--buffer-size=010",
            "$dispvm:$x",
            "a+b",
            "p",
            "-h",
        ])
        .unwrap();
        assert_eq!((&options.target[..], &options.service[..]), (&b"@dispvm:@x"[..], &b"a+b"[..]));
        assert_eq!(options.program, ["p", "-h"]);
        assert_eq!((&options.source[..], options.agent_socket.to_str()), (&b"work"[..], Some("/s")));
        let data = options.data();
        assert!(data.filter_stdout && data.filter_stderr && data.prefix == b"data");
        let data = parse(&["-t", "--no-filter-escape-chars-stdout", "a", "b"]).unwrap().data();
        assert!(!data.filter_stdout, "the last one counts");
    }

    #[test]
    fn wrong_use() {
        for (args, code) in [
            (&["-h"][..], 0),
            (&[][..], 2),
            (&["a"], 2),
            (&["-x", "a", "b"], 2),
            (&["-p", "1", "-p", "2", "a", "b"], 2),
            (&["-s", "1", "-s", "2", "a", "b"], 2),
            (&["--buffer-size=x", "a", "b"], 1),
            (&["--buffer-size=", "a", "b"], 1),
            (&["--buffer-size=-1", "a", "b"], 1),
            (&["--buffer-size=09", "a", "b"], 1),
            (&["--buffer-size=2147483648", "a", "b"], 1),
        ] {
            assert_eq!(parse(args).unwrap_err(), code, "{args:?}");
        }
        for size in ["0", "65536", "0x10000", "0200000"] {
            assert!(parse(&["--buffer-size", size, "a", "b"]).is_ok(), "{size}");
        }
    }
}
