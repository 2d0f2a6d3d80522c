//! The data channel of one call, both sides (spec/qrexec-wire.md, section 7).
//!
//! [`call`] and [`serve`] are the drivers of one pure machine, which decides what happens to the streams and when the
//! call is over. Long messages are spliced past us (splice(2)); only their headers are looked at.
//!
//! Facts about C peers over libvchan-socket that this relies on (libqrexec/remote.c, libqrexec/txrx-vchan.c,
//! vchan/io.c upstream): a body is read in as many parts as it takes, so it may be longer than the peer's ring of 4096 bytes;
//! a header is received whole, which a stream always allows; each side may send at once after its HELLO.

mod error;
mod errors;
mod filter;
mod flow;
mod hello;
mod incoming;
mod local;
mod machine;
mod one_socket;
mod options;
mod outgoing;
mod process;
mod relay;
mod wishes;

pub use error::DataError;
pub use errors::{Errors, Teller};
pub use options::{CallEnd, CallReport, HelloOrder, Options, Service};
pub use wishes::{Wish, Wishes};

use crate::wire::{Message, limit};
use incoming::{Incoming, Sinks};
use local::Local;
use machine::{Ending, Machine, Side};
use nix::sys::socket::Shutdown;
use one_socket::OneSocket;
use outgoing::Outgoing;
use process::Process;
use relay::{Relay, greet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vchan::Vchan;

/// The caller's side: relays between local descriptors and the vchan until the call has ended.
///
/// `input` is sent to the service (`None`: the service sees an empty input), its output goes to `output`, its errors
/// to `errors`. Each descriptor is closed as soon as its stream has ended; input and output may be one socket, given twice.
///
/// # Errors
/// When the protocol was violated or HELLO failed. A vchan that closes early is no error but [`CallEnd::Lost`].
pub fn call(
    vchan: Vchan,
    input: Option<OwnedFd>,
    output: OwnedFd,
    errors: Errors,
    options: &Options,
) -> Result<CallReport, DataError> {
    let (version, rest) = greet(&vchan, options.hello)?;
    let (input, output, one_socket) =
        ends(input, output, options.wish.as_ref()).map_err(DataError::system(PREPARING))?;
    let side = Side::Caller { end_with_output: options.end_with_output };
    let has_input = input.is_some() || !options.prefix.is_empty();
    let mut relay = Relay {
        vchan,
        machine: Machine::new(side, version, has_input, false),
        incoming: Incoming::new(&rest),
        outgoing: Outgoing::new(limit::data_chunk(version)),
        prefix: options.prefix.clone(),
        input,
        one_socket,
        errors_input: None,
        sinks: Sinks {
            output: Some(output),
            errors: Some(errors.into()),
            filter_output: options.filter_stdout,
            filter_errors: options.filter_stderr,
        },
        process: None,
        hung_up: false,
    };
    let ending = relay.run()?;
    Ok(CallReport {
        end: match ending {
            Ending::Exit(code) => CallEnd::Exit(code),
            Ending::Lost => CallEnd::Lost,
        },
        bytes_out: relay.outgoing.bytes,
        bytes_back: relay.incoming.bytes,
        first_out_ns: relay.outgoing.first_ns,
        first_back_ns: relay.incoming.first_ns,
    })
}

/// The service's side: relays between the vchan and a started service, waits for its process, sends its exit code last
/// and returns it.
///
/// # Errors
/// When the protocol was violated, HELLO failed, or the caller went away before the exit code could be sent. In all
/// cases the service's descriptors are closed and its process has been waited for.
pub fn serve(vchan: Vchan, service: Service, options: &Options) -> Result<i32, DataError> {
    match service {
        Service::Process { child, stdin, stdout, stderr } => {
            let mut process = Process::new(child);
            let side = Side::Service { process: true, exit_on_client_eof: false, exit_on_service_eof: false };
            let served =
                relay_service(vchan, side, Streams { stdin, stdout, stderr }, Some(&mut process), options);
            // Its streams are closed by now.
            process.wait().map_err(DataError::system("waiting for the service"))?;
            served
        }
        Service::Socket { stream, exit_on_client_eof, exit_on_service_eof } => {
            let stdout = stream.try_clone().map_err(DataError::system(PREPARING))?;
            let side = Side::Service { process: false, exit_on_client_eof, exit_on_service_eof };
            relay_service(vchan, side, Streams { stdin: stream, stdout, stderr: None }, None, options)
        }
        Service::Failed { code, dom0 } => {
            let (out, err) = (Message::Stdout(Vec::new()), Message::Stderr(Vec::new()));
            let ends = if dom0 { [err, out] } else { [out, err] };
            tell(vchan, &ends, code, options)
        }
        Service::JustExec { code } => tell(vchan, &[], code, options),
    }
}

/// Our ends of a service's streams.
struct Streams {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
}

fn relay_service(
    vchan: Vchan,
    side: Side,
    streams: Streams,
    process: Option<&mut Process>,
    options: &Options,
) -> Result<i32, DataError> {
    let (version, rest) = greet(&vchan, options.hello)?;
    let Streams { stdin, stdout, stderr } = streams;
    let wish = options.wish.as_ref().filter(|_| process.is_some());
    let (input, output, one_socket) =
        ends(Some(stdout), stdin, wish).map_err(DataError::system(PREPARING))?;
    let errors_input = stderr.map(Local::new).transpose().map_err(DataError::system(PREPARING))?;
    let mut relay = Relay {
        vchan,
        machine: Machine::new(side, version, true, errors_input.is_some()),
        incoming: Incoming::new(&rest),
        outgoing: Outgoing::new(limit::data_chunk(version)),
        prefix: options.prefix.clone(),
        input,
        one_socket,
        errors_input,
        sinks: Sinks {
            output: Some(output),
            errors: None,
            filter_output: options.filter_stdout,
            filter_errors: false,
        },
        process,
        hung_up: false,
    };
    served(relay.run()?)
}

/// Without a service: nothing but the ends of its streams and an exit code.
fn tell(vchan: Vchan, ends: &[Message], code: i32, options: &Options) -> Result<i32, DataError> {
    let (version, rest) = greet(&vchan, options.hello)?;
    let side = Side::Service { process: false, exit_on_client_eof: false, exit_on_service_eof: false };
    let mut relay = Relay {
        vchan,
        machine: Machine::new(side, version, true, true),
        incoming: Incoming::new(&rest),
        outgoing: Outgoing::new(limit::data_chunk(version)),
        prefix: Vec::new(),
        input: None,
        one_socket: None,
        errors_input: None,
        sinks: Sinks { output: None, errors: None, filter_output: false, filter_errors: false },
        process: None,
        hung_up: false,
    };
    for message in ends.iter().chain([&Message::ExitCode(code)]) {
        relay.outgoing.push(&message.to_bytes());
    }
    served(relay.finish(Ending::Exit(code))?)
}

const fn served(ending: Ending) -> Result<i32, DataError> {
    match ending {
        Ending::Exit(code) => Ok(code),
        Ending::Lost => Err(DataError::Lost { step: "serving the call" }),
    }
}

/// A reading and a writing end, which may be two halves of one socket, or may become so by a wish.
fn ends(
    input: Option<OwnedFd>,
    output: OwnedFd,
    wish: Option<&Arc<Wish>>,
) -> io::Result<(Option<Local>, Local, Option<OneSocket>)> {
    let input = input.map(Local::new).transpose()?;
    let mut output = Local::new(output)?;
    Ok(match input {
        Some(input) if input.is_one_socket_with(&output) => {
            (Some(input.half(Shutdown::Read)), output.half(Shutdown::Write), None)
        }
        input => {
            let one_socket = OneSocket::prepare(wish, &mut output)?;
            (input, output, one_socket)
        }
    })
}

const PREPARING: &str = "preparing the local streams";
