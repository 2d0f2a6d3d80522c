//! `qubes-host bench`: each figure beside its floor, measured in the same run.
//!
//! A floor is the least that the machine would need for the same thing: an empty program of the same linkage for a
//! program start, a bare two-process copy for a stream, a call to a running qube for a call to a disposable. Machines
//! differ and are noisy; ratios to a floor of the same run travel between them, medians do not.

mod burst;
mod calls;
mod figure;
mod keeper;
mod policy;
mod probe;
mod queue;
mod site;
mod snapshot;
mod stream;
mod trace;
mod xen;
mod xen_calls;

pub(crate) use probe::{PROGRAMS, run as run_program};
pub(crate) use queue::is_settled as queue_is_settled;

use crate::cli::Failure;
use figure::Figure;
use site::Site;
use std::io::Write;

/// Measures and prints; `only` names figures, none means all.
pub(crate) fn bench(json: bool, only: &[String]) -> Result<u8, Failure> {
    check(only, &ALL.concat())?;
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
    if wanted(FLOOR) {
        add(calls::exec_floor()?);
    }
    if wanted(policy::NAMES) {
        add(policy::policy()?);
    }
    if wanted(DEPTHS) {
        add(queue::depths()?);
    }
    if wanted(HANDOUTS) {
        let site = Site::open(HANDOUT_DEPTH)?;
        add(queue::handouts(&site)?);
        site.close()?;
    }
    if wanted(&WITH_QUEUE.concat()) {
        let mut site = Site::open(2)?;
        if wanted(SNAPSHOT) {
            add(snapshot::snapshot(&site)?);
        }
        if wanted(HAND_OVER) {
            add(calls::hand_over(&mut site)?);
        }
        if wanted(WARM) {
            site.start_running_qube()?;
            add(calls::warm(&mut site, calls::CALLS)?);
        }
        if wanted(STREAM) {
            add(stream::stream(&mut site)?);
        }
        if wanted(SYSTEM_CALLS) {
            add(trace::hand_over(&site, TRACED)?);
        }
        if wanted(IDLE) {
            add(keeper::idle(&site)?);
        }
        site.close()?;
    }
    if wanted(BURSTS) {
        let (with, without) = (Site::open(burst::MAX)?, Site::open(0)?);
        add(burst::figures(&burst::times(&with)?, &burst::times(&without)?));
        with.close()?;
        without.close()?;
    }
    if wanted(MEMORY) {
        let site = Site::open(1)?;
        add(keeper::memory(&site)?);
        site.close()?;
    }
    if wanted(COLD) {
        let mut site = Site::open(0)?;
        add(calls::cold(&mut site, calls::COLD_CALLS)?);
        site.close()?;
    }
    if !json {
        drop(std::io::stdout().write_all(figure::table(&figures).as_bytes()));
    }
    Ok(0)
}

/// The same on Xen, as far as it means something there.
pub(crate) fn on_xen(json: bool, only: &[String], rounds: usize) -> Result<u8, Failure> {
    check(only, xen::NAMES)?;
    let is_wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    let figures = xen::figures(is_wanted, rounds)?;
    let text = if json {
        figures.iter().map(|figure| figure.to_json() + "\n").collect()
    } else {
        figure::table(&figures)
    };
    drop(std::io::stdout().write_all(text.as_bytes()));
    Ok(0)
}

fn check(only: &[String], known: &[&str]) -> Result<(), Failure> {
    let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let known = known.join(", ");
    let unknown = format!("\"{}\"", names::printable(unknown.as_bytes()));
    Err(Failure::trouble("measure", unknown, format!("known: {known}")))
}

/// Set in the qubes of a bench.
pub(crate) const VARIABLE: &str = "QUBES_BENCH";

const FLOOR: &[&str] = &["exec_floor"];
const DEPTHS: &[&str] = &["claim_depth_1", "claim_depth_1024"];
const HANDOUTS: &[&str] = &["claim", "wake", "handouts_per_s"];
const SNAPSHOT: &[&str] = &["snapshot_call", "snapshot_file"];
const HAND_OVER: &[&str] = &["exec_to_claim", "connect", "first_byte"];
const WARM: &[&str] = &["call_running", "call_preloaded"];
const STREAM: &[&str] = &["stream_mib_s", "stream_relays_mib_s", "stream_floor_mib_s"];
const SYSTEM_CALLS: &[&str] = &["handover_syscalls", "handover_fsyncs", "handover_switches"];
const IDLE: &[&str] = &["keeper_wakeups"];
const BURSTS: &[&str] = &["burst_cold_p95", "burst_warm_p95", "burst_warm_of_cold"];
const MEMORY: &[&str] = &["keeper_rss"];
const COLD: &[&str] = &["call_cold"];
/// Those that are measured on one host with a short queue.
const WITH_QUEUE: &[&[&str]] = &[SNAPSHOT, HAND_OVER, WARM, STREAM, SYSTEM_CALLS, IDLE];
const ALL: &[&[&str]] = &[
    FLOOR,
    policy::NAMES,
    DEPTHS,
    HANDOUTS,
    SNAPSHOT,
    HAND_OVER,
    WARM,
    STREAM,
    SYSTEM_CALLS,
    IDLE,
    BURSTS,
    MEMORY,
    COLD,
];

/// How many disposables wait when hand-outs are counted.
const HANDOUT_DEPTH: usize = 24;
/// How many hand-overs are counted.
const TRACED: usize = 10;
