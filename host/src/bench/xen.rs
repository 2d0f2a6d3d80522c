//! On Xen: what one hand-over costs, counted, and times as ratios within one run, for a clock may be emulated there.

use super::calls;
use super::figure::Figure;
use super::site::Site;
use super::trace;
use crate::cli::Failure;
use crate::xen::XenSettings;
use std::io;
use std::process::{Command, Stdio};

/// What can be measured; each hand-over uses up a domain, whose successor takes seconds to start.
pub(super) const NAMES: &[&str] = &[
    "handover_syscalls",
    "handover_fsyncs",
    "handover_switches",
    "handover_privcmd",
    "handover_xenstore",
    "xl_unpause",
    "wake_connect",
    "call_running",
    "call_preloaded",
    "call_cold",
];

/// Those that are wanted, by their names in [`NAMES`], each from so many hand-overs.
pub(super) fn figures(is_wanted: impl Fn(&str) -> bool, rounds: usize) -> Result<Vec<Figure>, Failure> {
    let mut site = Site::open_on(1, Some(XenSettings::from_env()))?;
    let mut figures = Vec::new();
    if NAMES.iter().any(|name| name.starts_with("handover_") && is_wanted(name)) {
        figures.extend(trace::hand_over(&site, rounds)?);
    }
    if ["xl_unpause", "call_running", "call_preloaded"].into_iter().any(&is_wanted) {
        site.start_running_qube()?;
        figures.push(xl_unpause()?);
        figures.extend(calls::warm(&mut site, rounds)?);
    }
    if is_wanted("wake_connect") {
        figures.extend(calls::wake_connect(&mut site, rounds)?);
    }
    if is_wanted("call_cold") {
        site.preload(0)?;
        for cold in calls::cold(&mut site, rounds)? {
            figures.push(Figure { floor: Some("call_preloaded"), ..cold });
        }
    }
    site.close()?;
    figures.retain(|figure| is_wanted(figure.name));
    Ok(figures)
}

/// What an administrator would do by hand, on the qube `running`.
fn xl_unpause() -> Result<Figure, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::trouble("measure", "xl unpause", error);
    let xl = |word: &str| -> io::Result<()> {
        let status = Command::new("xl").args([word, "running"]).stdin(Stdio::null()).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("xl {word} ended with {status}")))
        }
    };
    let mut times = Vec::new();
    for _ in 0..UNPAUSES {
        xl("pause").map_err(|error| failed(&error))?;
        let begun = os::monotonic_ns();
        xl("unpause").map_err(|error| failed(&error))?;
        times.push(os::monotonic_ns() - begun);
    }
    Ok(Figure::of_times("xl_unpause", None, times))
}

const UNPAUSES: usize = 10;
