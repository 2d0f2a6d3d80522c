//! Throughput: through the whole chain, and between two bare processes.

use super::figure::Figure;
use super::site::Site;
use crate::cli::Failure;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// From a program in `work` by way of dom0 to a service in a disposable; the same way with nothing but bare relays on it;
/// and from a process to another by one socket.
pub(super) fn stream(site: &mut Site) -> Result<Vec<Figure>, Failure> {
    let (mut chain, mut relays, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        site.wait_until_settled()?;
        let failed = |error: std::io::Error| Failure::trouble("measure", "a bare copy", error);
        floor.push(bare_copy().map_err(failed)?);
        relays.push(bare_relays().map_err(failed)?);
        chain.push(site.pour("@dispvm", "qubes.OpenInVM", MIB)?);
    }
    Ok(vec![
        Figure::of("stream_floor_mib_s", "MiB/s", None, floor),
        Figure::of("stream_relays_mib_s", "MiB/s", Some("stream_floor_mib_s"), relays),
        Figure::of("stream_mib_s", "MiB/s", Some("stream_relays_mib_s"), chain),
    ])
}

/// MiB a second from a child process to this one.
fn bare_copy() -> std::io::Result<f64> {
    let (ours, theirs) = UnixStream::pair()?;
    // Spawned first: until the end of its statement the command holds the other end.
    let zeros = program("bench-zeros").arg(MIB.to_string()).stdout(OwnedFd::from(theirs)).spawn()?;
    drain(ours, vec![zeros])
}

/// MiB a second through as many processes as a call has on its way, over the same kinds of descriptors: pipe,
/// qrexec-client-vm, vchan, daemon, pipe, service executable, vchan, agent, pipe.
fn bare_relays() -> std::io::Result<f64> {
    let (work, dom0) = UnixStream::pair()?;
    let (service, disposable) = UnixStream::pair()?;
    let mut zeros = program("bench-zeros").arg(MIB.to_string()).stdout(Stdio::piped()).spawn()?;
    let client = relay(pipe_of(&mut zeros)?, OwnedFd::from(work).into())?;
    let mut daemon = relay(OwnedFd::from(dom0).into(), Stdio::piped())?;
    let executable = relay(pipe_of(&mut daemon)?, OwnedFd::from(service).into())?;
    let mut agent = relay(OwnedFd::from(disposable).into(), Stdio::piped())?;
    let output = agent.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    drain(output, vec![zeros, client, daemon, executable, agent])
}

fn relay(input: Stdio, output: Stdio) -> std::io::Result<Child> {
    program("bench-relay").stdin(input).stdout(output).spawn()
}

fn pipe_of(child: &mut Child) -> std::io::Result<Stdio> {
    child.stdout.take().map(Stdio::from).ok_or_else(|| std::io::ErrorKind::BrokenPipe.into())
}

fn program(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).stdin(Stdio::null());
    command
}

/// Reads to the end, and waits for those who wrote.
fn drain(mut from: impl Read, writers: Vec<Child>) -> std::io::Result<f64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut count = from.read(&mut buffer)?;
    let begun = os::monotonic_ns();
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            length => count += length,
        }
    }
    let rate = rate(count as u64, os::monotonic_ns() - begun);
    writers.into_iter().try_for_each(|mut writer| writer.wait().map(drop))?;
    Ok(rate)
}

/// MiB a second.
pub(super) fn rate(bytes: u64, nanoseconds: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "far below 52 bits")]
    let (bytes, nanoseconds) = (bytes as f64, nanoseconds.max(1) as f64);
    bytes / (1024.0 * 1024.0) / (nanoseconds / 1e9)
}

const ROUNDS: usize = 5;
const MIB: u32 = 512;
