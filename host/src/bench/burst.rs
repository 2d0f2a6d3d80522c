//! Bursts of calls at the same time, of 1 to twice as many as wait: with a queue they must never be worse than without
//! (users.md M10).

use super::figure::{Figure, percentile};
use super::site::Site;
use crate::cli::Failure;
use std::process::{Command, Stdio};
use std::thread;

/// How many wait when bursts are measured.
pub(super) const MAX: usize = 4;

/// The 95th percentile of the time to the first byte at the service, for each size of burst, in nanoseconds.
pub(super) fn times(site: &Site) -> Result<Vec<u64>, Failure> {
    (1..=2 * MAX).map(|size| of_size(site, size)).collect()
}

/// With a queue, without one, and for each size how many times as long with as without: above 1 is worse.
pub(super) fn figures(warm: &[u64], cold: &[u64]) -> Vec<Figure> {
    #[allow(clippy::cast_precision_loss, reason = "durations")]
    let ratios = warm.iter().zip(cold).map(|(warm, cold)| *warm as f64 / *cold as f64).collect();
    vec![
        Figure::of_times("burst_cold_p95", None, cold.to_vec()),
        Figure::of_times("burst_warm_p95", Some("burst_cold_p95"), warm.to_vec()),
        Figure::of("burst_warm_of_cold", "x", None, ratios),
    ]
}

fn of_size(site: &Site, size: usize) -> Result<u64, Failure> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        site.wait_until_settled()?;
        let commands: Vec<Command> = (0..size).map(|_| site.service("qubes.OpenInVM", "dispvm")).collect();
        let results: Vec<Result<u64, Failure>> = thread::scope(|scope| {
            let calls: Vec<_> = commands.into_iter().map(|command| scope.spawn(|| one(command))).collect();
            let lost = || Err(Failure::trouble("measure", "a burst", "a thread ended early"));
            calls.into_iter().map(|call| call.join().unwrap_or_else(|_| lost())).collect()
        });
        for result in results {
            times.push(result?);
        }
    }
    times.sort_unstable();
    Ok(percentile(&times, 95).unwrap_or_default())
}

fn one(mut command: Command) -> Result<u64, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::trouble("measure", "a call of a burst", error);
    let begun = os::monotonic_ns();
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(|error| failed(&error))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.split(' ').next().and_then(|word| word.parse::<u64>().ok()) {
        Some(first) if output.status.success() => Ok(first.saturating_sub(begun)),
        _ => Err(failed(&format!("the service ended with {}", output.status))),
    }
}

const ROUNDS: usize = 5;
