//! What the call is joined to: our own standard streams, or a local program.

use super::error::ClientVmError;
use super::low_byte;
use super::options::Options;
use crate::data::{Wish, Wishes};
use nix::unistd::{dup, dup2_stdin, dup2_stdout};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;

/// Descriptors for the relay.
pub(super) struct Streams {
    pub(super) input: Option<OwnedFd>,
    pub(super) output: OwnedFd,
    pub(super) errors: OwnedFd,
    pub(super) program: Option<Program>,
    /// That the program's standard input be its output as well.
    pub(super) wish: Option<Arc<Wish>>,
}

/// A local program, or the one that could not be started.
pub(super) struct Program(Option<Child>);

impl Program {
    /// Its exit code: 128 and the signal that killed it, 255 when there is none.
    pub(super) fn wait(self) -> u8 {
        let Some(Ok(status)) = self.0.map(|mut child| child.wait()) else { return 255 };
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        code.map_or(255, low_byte)
    }
}

pub(super) fn streams(options: &Options) -> Result<Streams, ClientVmError> {
    let streams = match &options.program[..] {
        [] if options.stdin_socket => one_socket(),
        [] => own(),
        [program, args @ ..] => local_program(program, args),
    };
    streams.map_err(ClientVmError::Streams)
}

/// The relay closes a stream as soon as it has ended, so that our neighbours in a pipeline learn of it; descriptors 0 and
/// 1 themselves are therefore moved out of the way.
fn own() -> io::Result<Streams> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = io::stdout().as_fd().try_clone_to_owned()?;
    let null = null()?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(Streams { input: Some(input), output, errors: errors()?, program: None, wish: None })
}

fn one_socket() -> io::Result<Streams> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let output = input.try_clone()?;
    dup2_stdin(null()?)?;
    Ok(Streams { input: Some(input), output, errors: errors()?, program: None, wish: None })
}

fn local_program(program: &OsStr, args: &[OsString]) -> io::Result<Streams> {
    // Before the program runs: without it the signal would end us.
    let wish = Wishes::new()?.of_a_call()?.alone();
    let (output, stdin) = UnixStream::pair()?;
    let (input, stdout) = UnixStream::pair()?;
    // As execv(3): no search in PATH.
    let path = if program.as_bytes().contains(&b'/') { program.into() } else { Path::new(".").join(program) };
    let mut command = Command::new(path);
    command.arg0(Path::new(program).file_name().unwrap_or(program)).args(args);
    command.env("QREXEC_AGENT_PID", std::process::id().to_string());
    command.stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout));
    // Made by plain dup(2), these reach the program; ours close below.
    let mut saved = vec![("SAVED_FD_0", dup(io::stdin())?), ("SAVED_FD_1", dup(io::stdout())?)];
    if std::env::var_os("PASS_LOCAL_STDERR").is_some() {
        saved.push(("SAVED_FD_2", dup(io::stderr())?));
    }
    for (name, descriptor) in &saved {
        command.env(name, descriptor.as_raw_fd().to_string());
    }
    let child = command.spawn().inspect_err(|error| {
        let shown = names::printable(program.as_bytes());
        let line = format!("qrexec-client-vm: starting the local program {shown} failed: {error}\n");
        let _: io::Result<()> = io::stderr().write_all(line.as_bytes());
    });
    if let Ok(child) = &child {
        wish.program_is(child.id());
    }
    Ok(Streams {
        input: Some(input.into()),
        output: output.into(),
        errors: errors()?,
        program: Some(Program(child.ok())),
        wish: Some(Arc::new(wish)),
    })
}

fn errors() -> io::Result<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned()
}

fn null() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/null")
}
