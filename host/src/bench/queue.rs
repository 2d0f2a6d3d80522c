//! Figures of the queue, in this process.

use super::figure::Figure;
use super::site::{self, Site};
use crate::Layout;
use crate::cli::Failure;
use disposable::entry::Entry;
use disposable::queue::{Place, Queue};
use disposable::wake;
use hypervisor::Hypervisor;
use names::{DomId, Generation, QubeName, Uuid};
use os::process::ProcessId;
use std::path::Path;
use std::time::Duration;

/// Whether nothing of a template's queue is on its way: `max` wait, and nothing is being made or destroyed.
pub(crate) fn is_settled(layout: &Layout, template: &QubeName, max: usize) -> bool {
    let Ok(Some(queue)) = Queue::open(&layout.queue(), template, LOCK_WAIT) else { return max == 0 };
    Place::ALL.into_iter().all(|place| {
        let wanted = if place == Place::Ready { max } else { 0 };
        queue.count(place).is_ok_and(|count| count == wanted)
    })
}

/// A claim from a queue of 1 and of 1,024: entries are files only, which is all that a claim touches.
pub(super) fn depths() -> Result<Vec<Figure>, Failure> {
    let directory = site::directory("depth")?;
    let result = [("claim_depth_1", None, 1), ("claim_depth_1024", Some("claim_depth_1"), 1024)]
        .into_iter()
        .map(|(name, floor, depth)| Ok(Figure::of_times(name, floor, claims(&directory, depth)?)))
        .collect();
    drop(std::fs::remove_dir_all(&directory));
    result
}

fn claims(directory: &Path, depth: u16) -> Result<Vec<u64>, Failure> {
    let failed = |error: std::io::Error| Failure::trouble("measure claims in", directory.display(), error);
    let template: QubeName =
        format!("depth-{depth}").parse().map_err(|error| Failure::trouble("name", depth, error))?;
    let queue = Queue::create(directory, &template, LOCK_WAIT).map_err(failed)?;
    let mut number = 0;
    let mut enqueue = || {
        let entry = invented(&template, number % 9999);
        number += 1;
        let reservation = queue.reserve(&number.to_string(), usize::MAX)?.ok_or(std::io::ErrorKind::Other)?;
        queue.note(&reservation, &entry)?;
        queue.enqueue(&reservation)
    };
    for _ in 0..depth {
        enqueue().map_err(failed)?;
    }
    let mut times = Vec::with_capacity(CLAIMS);
    for _ in 0..CLAIMS {
        let begun = os::monotonic_ns();
        let claim = queue.claim(ProcessId::own()).map_err(|error| failed(error.into()))?;
        times.push(os::monotonic_ns() - begun);
        let name = claim.claimed.as_ref().map(|claimed| claimed.name().to_string()).unwrap_or_default();
        drop(claim);
        queue.forget(Place::Done, &name).map_err(failed)?;
        enqueue().map_err(failed)?;
    }
    Ok(times)
}

fn invented(template: &QubeName, number: u16) -> Entry {
    let name = format!("disp{number}").parse().unwrap_or_else(|_| template.clone());
    Entry {
        name,
        uuid: Uuid::from_random([0; 16]),
        domid: DomId::DOM0,
        template: template.clone(),
        generation: Generation(0),
        created: 0,
        claimer: None,
    }
}

/// Claim, verify and wake real, paused disposables until none is left; then how many a second that would be.
pub(super) fn handouts(site: &Site) -> Result<Vec<Figure>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::trouble("hand out from", site.layout().queue().display(), error)
    };
    let template = site.template();
    let hypervisor = hypervisor::local::Local::new(site.layout().domains());
    let (mut claims, mut wakes, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..HANDOUT_ROUNDS {
        site.wait_until_settled()?;
        let queue =
            Queue::open(&site.layout().queue(), template, LOCK_WAIT).map_err(|error| failed(&error))?;
        let queue = queue.ok_or_else(|| failed(&"no queue"))?;
        let mut taken = Vec::new();
        let round = os::monotonic_ns();
        loop {
            let begun = os::monotonic_ns();
            let one = wake::take(&queue, &hypervisor as &dyn Hypervisor).map_err(|error| failed(&error))?;
            let Some(disposable) = one.disposable else { break };
            claims.push(one.claimed_ns - begun);
            wakes.push(one.woken_ns - one.claimed_ns);
            taken.push(disposable);
        }
        let seconds = Duration::from_nanos(os::monotonic_ns() - round).as_secs_f64();
        #[allow(clippy::cast_precision_loss, reason = "a few dozen")]
        rates.push(taken.len() as f64 / seconds);
    }
    Ok(vec![
        Figure::of_times("claim", Some("claim_depth_1"), claims),
        Figure::of_times("wake", None, wakes),
        Figure::of("handouts_per_s", "1/s", None, rates),
    ])
}

const CLAIMS: usize = 2000;
const HANDOUT_ROUNDS: usize = 4;
const LOCK_WAIT: Duration = Duration::from_secs(5);
