//! Throughput: through the whole chain, and between two bare processes.

use super::figure::Figure;
use super::site::Site;
use crate::cli::Failure;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// From a program in `work` by way of dom0 to a service in a disposable; and from a process to another by one socket.
pub(super) fn stream(site: &mut Site) -> Result<Vec<Figure>, Failure> {
    let (mut chain, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        site.wait_until_settled()?;
        floor.push(bare()?);
        chain.push(site.pour("@dispvm", "qubes.OpenInVM", MIB)?);
    }
    Ok(vec![
        Figure::of("stream_floor_mib_s", "MiB/s", None, floor),
        Figure::of("stream_mib_s", "MiB/s", Some("stream_floor_mib_s"), chain),
    ])
}

/// MiB a second from a child process to this one.
fn bare() -> Result<f64, Failure> {
    let failed = |error: std::io::Error| Failure::trouble("measure", "a bare copy", error);
    let (mut ours, theirs) = UnixStream::pair().map_err(failed)?;
    let executable = std::env::current_exe().map_err(failed)?;
    let mut writer = Command::new(executable)
        .arg0("bench-zeros")
        .arg(MIB.to_string())
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .map_err(failed)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut count = ours.read(&mut buffer).map_err(failed)?;
    let begun = os::monotonic_ns();
    loop {
        match ours.read(&mut buffer).map_err(failed)? {
            0 => break,
            length => count += length,
        }
    }
    let rate = rate(count as u64, os::monotonic_ns() - begun);
    writer.wait().map_err(failed)?;
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
