//! Programs that run inside the qubes of a bench.

use super::trace;
use nix::fcntl::{SpliceFFlags, splice};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Their names.
pub(crate) const PROGRAMS: &[&str] =
    &["qubes-nothing", "bench-probe", "bench-caller", "bench-pour", "bench-zeros", "bench-relay"];

/// Runs one; `None` when `name` is not in [`PROGRAMS`].
pub(crate) fn run(name: &str, words: &[OsString]) -> Option<u8> {
    let result = match name {
        "qubes-nothing" => return Some(0),
        "bench-probe" | "bench.Probe" => probe(),
        "bench-caller" => caller(words),
        "bench-pour" => pour(words),
        "bench-zeros" => zeros(words),
        "bench-relay" => relay(),
        // In dom0.
        "bench-count" => return Some(trace::count(words).unwrap_or(1)),
        "bench-switches" => return Some(trace::switches(words).unwrap_or(1)),
        "bench-traced" => return Some(trace::traced(words).unwrap_or(1)),
        _ => return None,
    };
    Some(u8::from(result.is_err()))
}

/// A service: says when the first byte (or the end) came, when the end came, and how many bytes there were.
fn probe() -> std::io::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut first = [0];
    let mut count = input.read(&mut first)? as u64;
    let first_ns = os::monotonic_ns();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match input.read(&mut buffer)? {
            0 => break,
            length => count += length as u64,
        }
    }
    writeln!(std::io::stdout(), "{first_ns} {} {count}", os::monotonic_ns())
}

/// `bench-caller TARGET SERVICE COUNT`: whole calls one after the other, the nanoseconds of each on a line.
fn caller(words: &[OsString]) -> std::io::Result<()> {
    let [target, service, count] = words else { return Err(std::io::ErrorKind::InvalidInput.into()) };
    let count = count.to_str().and_then(|text| text.parse().ok()).unwrap_or(1);
    for _ in 0..count {
        let begun = os::monotonic_ns();
        let output = Command::new("qrexec-client-vm")
            .args([target, service])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        let took = os::monotonic_ns() - begun;
        if !output.status.success() {
            return Err(std::io::Error::other("the call failed"));
        }
        writeln!(std::io::stdout(), "{took}")?;
    }
    Ok(())
}

/// `bench-pour TARGET SERVICE MIB`: one call with that much input; the nanoseconds from the first byte written to the
/// service's word that it has them all.
fn pour(words: &[OsString]) -> std::io::Result<()> {
    let [target, service, mib] = words else { return Err(std::io::ErrorKind::InvalidInput.into()) };
    let mib: u32 = mib.to_str().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut call = Command::new("qrexec-client-vm")
        .args([target, service])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut input = call.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    write_zeros(&mut input, mib)?;
    drop(input);
    let output = call.wait_with_output()?;
    std::io::stdout().write_all(&output.stdout)
}

/// `bench-zeros MIB`: the writing end of a bare copy.
fn zeros(words: &[OsString]) -> std::io::Result<()> {
    let mib = words.first().and_then(|word| word.to_str()).and_then(|text| text.parse().ok()).unwrap_or(1);
    // stdout is line buffered in std; the descriptor itself is not.
    let output = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned()?;
    write_zeros(&mut std::fs::File::from(output), mib)
}

/// `bench-relay`: the cheapest relay there is: one splice(2) for each portion, no messages, nothing looked at. One of its
/// streams must be a pipe.
fn relay() -> std::io::Result<()> {
    let (input, output) = (std::io::stdin(), std::io::stdout());
    while splice(&input, None, &output, None, 256 * 1024, SpliceFFlags::SPLICE_F_MOVE)? > 0 {}
    Ok(())
}

/// Writes so many MiB in pieces of 256 KiB.
pub(super) fn write_zeros(output: &mut impl Write, mib: u32) -> std::io::Result<()> {
    let piece = vec![0; 256 * 1024];
    (0..mib * 4).try_for_each(|_| output.write_all(&piece))
}
