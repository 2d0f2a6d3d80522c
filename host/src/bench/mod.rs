//! `qubes-host bench`: each figure beside its floor, measured in the same run.
//!
//! A floor is the least that the machine would need for the same thing: an empty program of the same linkage for a
//! program start, a bare two-process copy for a stream, a call to a running qube for a call to a disposable. Machines
//! differ and are noisy; ratios to a floor of the same run travel between them, medians do not.

mod calls;
mod figure;
mod policy;
mod probe;
mod queue;
mod site;
mod snapshot;
mod stream;

pub(crate) use probe::{PROGRAMS, run as run_program};
pub(crate) use queue::is_settled as queue_is_settled;

use crate::cli::Failure;
use figure::Figure;
use site::Site;
use std::io::Write;

/// Measures and prints; `only` names figures, none means all.
pub(crate) fn bench(json: bool, only: &[String]) -> Result<u8, Failure> {
    if let Some(unknown) = only.iter().find(|name| !NAMES.contains(&name.as_str())) {
        let known = NAMES.join(", ");
        return Err(Failure::trouble(
            "measure",
            format!("\"{}\"", names::printable(unknown.as_bytes())),
            format!("known: {known}"),
        ));
    }
    let wanted =
        |names: &[&str]| only.is_empty() || names.iter().any(|name| only.iter().any(|one| one == name));
    let mut figures = Vec::new();
    let mut add = |found: Vec<Figure>| {
        for figure in found.into_iter().filter(|figure| wanted(&[figure.name])) {
            if json {
                drop(writeln!(std::io::stdout(), "{}", figure.to_json()));
            }
            figures.push(figure);
        }
    };
    if wanted(&["exec_floor"]) {
        add(calls::exec_floor()?);
    }
    if wanted(policy::NAMES) {
        add(policy::policy()?);
    }
    if wanted(&["claim_depth_1", "claim_depth_1024"]) {
        add(queue::depths()?);
    }
    if wanted(&["claim", "wake", "handouts_per_s"]) {
        let site = Site::open(HANDOUT_DEPTH)?;
        add(queue::handouts(&site)?);
        site.close()?;
    }
    if wanted(WITH_QUEUE) {
        let mut site = Site::open(2)?;
        if wanted(&["snapshot_call", "snapshot_file"]) {
            add(snapshot::snapshot(&site)?);
        }
        if wanted(&["exec_to_claim", "connect", "first_byte"]) {
            add(calls::hand_over(&mut site)?);
        }
        if wanted(&["call_running", "call_preloaded"]) {
            add(calls::warm(&mut site)?);
        }
        if wanted(&["stream_mib_s", "stream_floor_mib_s"]) {
            add(stream::stream(&mut site)?);
        }
        site.close()?;
    }
    if wanted(&["call_cold"]) {
        let mut site = Site::open(0)?;
        add(calls::cold(&mut site)?);
        site.close()?;
    }
    if !json {
        drop(std::io::stdout().write_all(figure::table(&figures).as_bytes()));
    }
    Ok(0)
}

const WITH_QUEUE: &[&str] = &[
    "snapshot_call",
    "snapshot_file",
    "exec_to_claim",
    "connect",
    "first_byte",
    "call_running",
    "call_preloaded",
    "stream_mib_s",
    "stream_floor_mib_s",
];

/// Set in the qubes of a bench.
pub(crate) const VARIABLE: &str = "QUBES_BENCH";

const NAMES: &[&str] = &[
    "exec_floor",
    "policy_cold",
    "policy_warm",
    "policy_1000_rules",
    "policy_10000_rules",
    "system_info_100",
    "policy_exec",
    "claim_depth_1",
    "claim_depth_1024",
    "claim",
    "wake",
    "handouts_per_s",
    "snapshot_call",
    "snapshot_file",
    "exec_to_claim",
    "connect",
    "first_byte",
    "call_running",
    "call_preloaded",
    "stream_mib_s",
    "stream_floor_mib_s",
    "call_cold",
];

/// How many disposables wait when hand-outs are counted.
const HANDOUT_DEPTH: usize = 24;
