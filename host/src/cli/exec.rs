//! Runs a command in a qube of a running host.

use super::failure::Failure;
use super::place;
use crate::Layout;
use names::{DomId, QubeName, QubeRef};
use qrexec::client::Client;
use qrexec::data::{CallEnd, Options};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(super) fn exec(state: Option<&Path>, qube: &QubeName, command: &[OsString]) -> Result<u8, Failure> {
    let place = place::for_serve(state)?;
    let layout = Layout::new(&place.path);
    if !layout.qubesd_socket().exists() {
        return Err(Failure::trouble(
            "reach a host in",
            place.path.display(),
            "none is running there; start one with \"qubes-host serve\"",
        ));
    }
    let own = |descriptor: io::Result<OwnedFd>| {
        descriptor.map_err(|error| Failure::trouble("use the standard streams of", "exec", error))
    };
    let streams = Streams {
        input: Some(own(io::stdin().as_fd().try_clone_to_owned())?),
        output: own(io::stdout().as_fd().try_clone_to_owned())?,
        errors: own(io::stderr().as_fd().try_clone_to_owned())?,
    };
    start_if_halted(&layout, qube)?;
    run(&layout, qube, command, streams)
}

/// As qvm-run does.
fn start_if_halted(layout: &Layout, qube: &QubeName) -> Result<(), Failure> {
    let admin = admin::Client::new(layout.qubesd_socket());
    let reference = QubeRef::Name(qube.clone());
    let failed = |error: admin::AdminError| Failure::trouble("run a command in", qube, error);
    if admin.qube(&reference).map_err(failed)?.state == admin::PowerState::Halted {
        admin.start(&reference).map_err(failed)?;
    }
    Ok(())
}

/// Where the command's streams go.
pub(super) struct Streams {
    pub(super) input: Option<OwnedFd>,
    pub(super) output: OwnedFd,
    pub(super) errors: OwnedFd,
}

/// Runs a command in a qube by its service qubes.VMExec, without a shell; returns the command's exit code.
pub(super) fn run(
    layout: &Layout,
    qube: &QubeName,
    command: &[OsString],
    streams: Streams,
) -> Result<u8, Failure> {
    let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
    let text = format!("DEFAULT:QUBESRPC qubes.VMExec+{} dom0", vm::vmexec::encode(&words));
    let failed = |error: &dyn std::fmt::Display| Failure::trouble("run a command in", qube, error);
    if text.len() > LONGEST_COMMAND {
        let cause =
            format!("with all arguments it has {} bytes on the wire, {LONGEST_COMMAND} at most", text.len());
        return Err(failed(&cause));
    }
    let config = disposable::config::Config::read(&layout.dispvm_config()).map_err(|error| failed(&error))?;
    let vchan = vchan::Config { dir: config.vchan_directory, own: DomId::DOM0 };
    let client = Client { socket_dir: layout.run(), vchan };
    let call = client.start(qube.as_str(), &text).map_err(|error| failed(&error))?;
    let connected = call.connect().map_err(|error| failed(&error))?;
    let report = connected.run(streams.input, streams.output, streams.errors.into(), &Options::default());
    match report.map_err(|error| failed(&error))?.end {
        CallEnd::Exit(code) => Ok(u8::try_from(code).unwrap_or(255)),
        CallEnd::Lost => Err(failed(&"the qube ended before the command did")),
    }
}

/// A command line must fit the control ring of 4,096 bytes (spec/qrexec-wire.md 2.1).
const LONGEST_COMMAND: usize = 4000;
