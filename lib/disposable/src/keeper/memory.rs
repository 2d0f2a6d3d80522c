//! What the keeper remembers of one template between two looks; nothing whose loss does harm.

use super::limits::Delay;
use super::plan::{Action, Plan, Seen, View};
use crate::queue::Place;
use names::DomId;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It could not be created, started or paused.
    Start,
    /// It came up and then failed its check.
    Check,
}

#[derive(Debug)]
pub(super) struct Memory {
    /// No refill before this time.
    refill_at: u64,
    /// Whether a refill is under way; with [`Delay::WhenEmpty`] none begins before the queue is empty.
    filling: bool,
    /// The maximum at the last look.
    max: usize,
    /// Starts that failed in a row.
    failures: u32,
    /// Checks that failed since something changed.
    failed_checks: u32,
    /// Whether the want of memory has been told.
    told_short: bool,
    /// Files whose use has been noticed.
    counted: HashSet<String>,
    /// Handed-over disposables that were released.
    released: HashSet<String>,
    /// Files that are being destroyed, or were not and when that is tried again.
    destroying: HashMap<(Place, String), Option<u64>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            refill_at: 0,
            filling: true,
            max: 0,
            failures: 0,
            failed_checks: 0,
            told_short: false,
            counted: HashSet::new(),
            released: HashSet::new(),
            destroying: HashMap::new(),
        }
    }
}

impl Memory {
    /// Each use sets the time of the next refill once (R45, R89). One that its call has still to start, of which no domain
    /// id is known, is used when it is handed over: a refill does not compete with that start (promise P6).
    pub(super) fn note_use(&mut self, seen: &Seen, view: &View, now: u64) {
        let runs = seen.entry.as_ref().is_some_and(|entry| entry.domid != DomId::DOM0);
        if seen.place == Place::Claimed && !runs {
            return;
        }
        let name = seen.entry.as_ref().map_or(seen.file.as_str(), |entry| entry.name.as_str());
        if self.counted.insert(name.to_owned()) {
            let (Delay::After(delay) | Delay::WhenEmpty(delay)) = view.limits.delay;
            self.failed_checks = 0;
            self.refill_at = self.refill_at.max(now + nanoseconds(delay));
        }
    }

    pub(super) fn release(&mut self, seen: &Seen, plan: &mut Plan) {
        if let Some(entry) = seen.entry.as_ref().filter(|entry| self.released.insert(entry.name.to_string()))
        {
            plan.actions.push(Action::Release(entry.clone()));
        }
    }

    pub(super) fn destroy(&mut self, seen: &Seen, now: u64, plan: &mut Plan) {
        let retry = self.destroying.get(&(seen.place, seen.file.clone())).copied();
        match retry {
            Some(None) => {}
            Some(Some(at)) if now < at => plan.look_at(at),
            Some(Some(_)) | None => {
                self.destroying.insert((seen.place, seen.file.clone()), None);
                let (place, file, entry) = (seen.place, seen.file.clone(), seen.entry.clone());
                plan.actions.push(Action::Destroy { place, file, entry });
            }
        }
    }

    pub(super) fn refill(
        &mut self,
        view: &View,
        waiting: usize,
        free_starts: usize,
        now: u64,
        plan: &mut Plan,
    ) {
        let room = view.limits.max.saturating_sub(waiting);
        // A new maximum is filled up at once, whatever the delay (R34, R35).
        self.filling |= view.limits.max > self.max;
        self.max = view.limits.max;
        self.filling =
            room > 0 && (self.filling || waiting == 0 || matches!(view.limits.delay, Delay::After(_)));
        if !self.filling || self.failed_checks >= MOST_FAILED_CHECKS {
            return;
        }
        if now < self.refill_at {
            plan.look_at(self.refill_at);
            return;
        }
        let short = room.saturating_sub(view.affordable);
        if short > 0 && !self.told_short {
            plan.actions.push(Action::SayShort(short));
        }
        self.told_short = short > 0;
        plan.actions.extend((0..room.min(view.affordable).min(free_starts)).map(|_| Action::Start));
    }

    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.failed_checks = 0;
    }

    pub(super) fn failed(&mut self, failure: Failure, now: u64) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        if failure == Failure::Check {
            self.failed_checks = self.failed_checks.saturating_add(1);
        }
        let wait = Duration::from_secs(1u64 << self.failures.min(9)).min(LONGEST_BACK_OFF);
        self.refill_at = self.refill_at.max(now + nanoseconds(wait));
        (self.failed_checks < MOST_FAILED_CHECKS).then_some(wait)
    }

    pub(super) fn not_destroyed(&mut self, place: Place, file: &str, now: u64) {
        self.destroying.insert((place, file.to_owned()), Some(now + nanoseconds(DESTROY_AGAIN)));
    }

    pub(super) fn changed(&mut self, delay: Duration, now: u64) {
        self.failed_checks = 0;
        self.filling = true;
        self.refill_at = self.refill_at.max(now + nanoseconds(delay));
    }

    pub(super) fn forget_vanished(&mut self, view: &View) {
        let present =
            |place: Place, file: &str| view.seen.iter().any(|seen| seen.place == place && seen.file == file);
        self.destroying.retain(|(place, file), _| present(*place, file));
        let named = |name: &String| {
            view.seen.iter().any(|seen| {
                seen.file == *name || seen.entry.as_ref().is_some_and(|entry| entry.name.as_str() == name)
            })
        };
        self.counted.retain(named);
        self.released.retain(named);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
const DESTROY_AGAIN: Duration = Duration::from_secs(5);
const MOST_FAILED_CHECKS: u32 = 3;
