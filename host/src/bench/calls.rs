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
    let failed = |error: &dyn std::fmt::Display| Failure::trouble("measure", "the hand-over", error);
    let (mut to_claim, mut connects, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..HAND_OVERS {
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
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        firsts.push(first.ok_or_else(|| failed(&"the probe said nothing"))? - begun);
        let events = site.events();
        let at = |step: &str| events.iter().find(|event| event.step == step).map(|event: &Event| event.at_ns);
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

/// Whole calls from qrexec-client-vm on: to a qube that runs, and to a disposable that waits.
pub(super) fn warm(site: &mut Site) -> Result<Vec<Figure>, Failure> {
    site.start_running_qube()?;
    let (mut running, mut preloaded) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
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
pub(super) fn cold(site: &mut Site) -> Result<Vec<Figure>, Failure> {
    let mut times = Vec::new();
    for _ in 0..COLD_CALLS {
        times.extend(site.call("@dispvm", "qubes.OpenInVM", 1)?);
        site.wait_until_settled()?;
    }
    Ok(vec![Figure::of_times("call_cold", Some("call_running"), times)])
}

const EXECS: usize = 300;
const PAUSE: Duration = Duration::from_millis(5);
const HAND_OVERS: usize = 60;
const CALLS: usize = 40;
const COLD_CALLS: usize = 15;
