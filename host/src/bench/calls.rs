//! Figures of calls: processes, sockets, qubes, all real.

use super::figure::Figure;
use super::site::Site;
use crate::cli::Failure;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use trace::Event;

/// Start and end of an empty program: this executable under a name for which it does nothing.
pub(super) fn exec_floor() -> Result<Vec<Figure>, Failure> {
    let failed = |error: std::io::Error| Failure::trouble("start", "an empty program", error);
    let executable = std::env::current_exe().map_err(failed)?;
    let mut times = Vec::with_capacity(EXECS);
    for _ in 0..EXECS {
        // Calls come one at a time, to caches and CPUs that have done other things meanwhile.
        std::thread::sleep(PAUSE);
        let begun = os::monotonic_ns();
        Command::new(&executable).arg0("qubes-nothing").status().map_err(failed)?;
        times.push(os::monotonic_ns() - begun);
    }
    Ok(vec![Figure::of_times("exec_floor", None, times)])
}

/// The hand-over alone: from the exec of the service executable to the first byte at the service in the disposable.
pub(super) fn hand_over(site: &mut Site) -> Result<Vec<Figure>, Failure> {
    let (mut to_claim, mut connects, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..HAND_OVERS {
        let (begun, said) = one(site)?;
        let first = said.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        firsts.push(first.ok_or_else(|| failed(&"the probe said nothing"))? - begun);
        let at = times(site);
        if let (Some(claimed), Some(woken), Some(connected)) = (at("claimed"), at("woken"), at("connected")) {
            to_claim.push(claimed - begun);
            connects.push(connected - woken);
        }
    }
    Ok(vec![
        Figure::of_times("exec_to_claim", Some("exec_floor"), to_claim),
        Figure::of_times("connect", None, connects),
        Figure::of_times("first_byte", Some("exec_floor"), firsts),
    ])
}

/// From the claim, which says which domain is to wake, to the connection with what it runs.
pub(super) fn wake_connect(site: &mut Site, rounds: usize) -> Result<Vec<Figure>, Failure> {
    let mut wakes = Vec::new();
    for _ in 0..rounds {
        one(site)?;
        let at = times(site);
        if let (Some(claimed), Some(connected)) = (at("claimed"), at("connected")) {
            wakes.push(connected - claimed);
        }
    }
    Ok(vec![Figure::of_times("wake_connect", Some("xl_unpause"), wakes)])
}

/// One hand-over: when it began, and what the probe said.
fn one(site: &mut Site) -> Result<(u64, String), Failure> {
    site.wait_until_settled()?;
    site.forget_events();
    let begun = os::monotonic_ns();
    let mut service = site
        .service("qubes.OpenInVM", "dispvm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    if let Some(mut input) = service.stdin.take() {
        input.write_all(b"x").map_err(|error| failed(&error))?;
    }
    let output = service.wait_with_output().map_err(|error| failed(&error))?;
    if !output.status.success() {
        return Err(failed(&format!("the service ended with {}", output.status)));
    }
    Ok((begun, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// When each step of the last call was.
fn times(site: &mut Site) -> impl Fn(&str) -> Option<u64> {
    let events = site.events();
    move |step| events.iter().find(|event| event.step == step).map(|event: &Event| event.at_ns)
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::trouble("measure", "the hand-over", error)
}

/// Whole calls from qrexec-client-vm on: to a qube that runs, and to a disposable that waits.
pub(super) fn warm(site: &mut Site, calls: usize) -> Result<Vec<Figure>, Failure> {
    let (mut running, mut preloaded) = (Vec::new(), Vec::new());
    for _ in 0..calls {
        site.wait_until_settled()?;
        running.extend(site.call("running", "bench.Probe", 1)?);
        site.wait_until_settled()?;
        preloaded.extend(site.call("@dispvm", "qubes.OpenInVM", 1)?);
    }
    Ok(vec![
        Figure::of_times("call_running", None, running),
        Figure::of_times("call_preloaded", Some("call_running"), preloaded),
    ])
}

/// Whole calls when no disposable waits.
pub(super) fn cold(site: &mut Site, calls: usize) -> Result<Vec<Figure>, Failure> {
    let mut times = Vec::new();
    for _ in 0..calls {
        times.extend(site.call("@dispvm", "qubes.OpenInVM", 1)?);
        site.wait_until_settled()?;
    }
    Ok(vec![Figure::of_times("call_cold", Some("call_running"), times)])
}

const EXECS: usize = 300;
const PAUSE: Duration = Duration::from_millis(5);
const HAND_OVERS: usize = 60;
pub(super) const CALLS: usize = 40;
pub(super) const COLD_CALLS: usize = 15;
