//! What a call needs to know of the system: asked of qubesd, and read from a copy in a file.

use super::figure::Figure;
use super::site::Site;
use crate::cli::Failure;
use admin::Client;
use policy::SystemInfo;

/// One Admin API call with its parsing, as each hand-over does; and the same from a file, as a keeper's copy would be.
pub(super) fn snapshot(site: &Site) -> Result<Vec<Figure>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::trouble("measure", "the system snapshot", error);
    let client = Client::new(site.layout().qubesd_internal_socket());
    let copy = site.layout().run().join("system.json");
    let json = client.system_info_json().map_err(|error| failed(&error))?;
    std::fs::write(&copy, &json).map_err(|error| failed(&error))?;
    let call = || client.system_info_json().is_ok_and(|json| SystemInfo::from_json(&json).is_ok());
    let file = || std::fs::read(&copy).is_ok_and(|json| SystemInfo::from_json(&json).is_ok());
    Ok(vec![
        Figure::of_times("snapshot_file", None, times(file)),
        Figure::of_times("snapshot_call", Some("snapshot_file"), times(call)),
    ])
}

/// Nanoseconds of each run that succeeded.
fn times(run: impl Fn() -> bool) -> Vec<u64> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begun = os::monotonic_ns();
        if run() {
            times.push(os::monotonic_ns() - begun);
        }
    }
    times
}

const RUNS: usize = 500;
