//! From what lies in the places to what is to be done. Pure: times are nanoseconds of a monotonic clock, passed in.

use super::limits::Limits;
use super::memory::{Failure, Memory};
use crate::entry::Entry;
use crate::queue::Place;
use names::{Generation, QubeName};
use std::collections::HashMap;
use std::time::Duration;

/// One template as the keeper sees it.
#[derive(Debug, Clone)]
pub struct View {
    /// The template.
    pub template: QubeName,
    /// What is in force for it.
    pub limits: Limits,
    /// Its generation.
    pub generation: Generation,
    /// How many more disposables the free memory can hold (R55, R56); `usize::MAX` when that is not known.
    pub affordable: usize,
    /// Files of all places, each place in the order of file names.
    pub seen: Vec<Seen>,
}

/// One file of a place.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Where it lies.
    pub place: Place,
    /// Its name.
    pub file: String,
    /// What it says.
    pub entry: Option<Entry>,
    /// Whether this very keeper is still making it; only then may more be noted in the file.
    pub making: bool,
    /// Whether the process that took it lives.
    pub owner_lives: bool,
    /// The disposable's domain.
    pub domain: Domain,
}

/// What the hypervisor says of a disposable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Not looked at this time.
    Unchecked,
    /// As it should be in the queue.
    Paused,
    /// Awake.
    Running,
    /// No such domain, or another one has its number.
    Gone,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make one more disposable.
    Start,
    /// Say that so many are not made for want of memory.
    SayShort(usize),
    /// Move a waiting entry to `done/`.
    Discard {
        /// Where it lies.
        place: Place,
        /// Its file.
        file: String,
        /// Its name, for people.
        name: String,
        /// Why, for people.
        reason: String,
    },
    /// It was handed over: clear what only a waiting one has (R84).
    Release(Entry),
    /// Kill the disposable and remove its file.
    Destroy {
        /// Where it lies.
        place: Place,
        /// Its file.
        file: String,
        /// What it said.
        entry: Option<Entry>,
    },
}

/// What to do for one template now, and when to look again even if nothing happens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// The next time to look, in nanoseconds of the same clock.
    pub again_at: Option<u64>,
}

/// What the keeper remembers between two looks; nothing whose loss does harm.
#[derive(Debug, Default)]
pub struct Keeper {
    templates: HashMap<QubeName, Memory>,
}

impl Keeper {
    /// Compares a view with what should be. `free_starts` is how many more may start at the same time.
    pub fn plan(&mut self, view: &View, free_starts: usize, now: u64) -> Plan {
        let memory = self.templates.entry(view.template.clone()).or_default();
        let mut plan = Plan::default();
        let mut waiting = 0;
        memory.forget_vanished(view);
        // Ready ones are older than starting ones, and file names sort by age: above the maximum the newest go (R96).
        for seen in view.of(Place::Ready) {
            match reason_against(seen, view, waiting) {
                Some(reason) => plan.actions.push(discard(seen, reason)),
                None => waiting += 1,
            }
        }
        for seen in view.of(Place::Starting) {
            if !seen.making && seen.entry.is_none() {
                // What has become of it takes a while to find out: its room is free meanwhile.
                plan.actions.push(discard(seen, "whoever was making it died".into()));
            } else if !seen.making {
                memory.destroy(seen, now, &mut plan);
            } else if waiting >= view.limits.max {
                plan.actions.push(discard(seen, format!("only {} may wait", view.limits.max)));
            } else {
                waiting += 1;
            }
        }
        for seen in &view.seen {
            match seen.place {
                Place::Starting | Place::Ready => {}
                Place::Claimed | Place::Used => {
                    memory.note_use(seen, view, now);
                    if !seen.owner_lives && seen.making {
                        plan.actions.push(discard(seen, "the call that waited for it died".into()));
                    } else if !seen.owner_lives {
                        memory.destroy(seen, now, &mut plan);
                    } else if seen.place == Place::Used {
                        memory.release(seen, &mut plan);
                    }
                }
                // Whoever is still making it may not have said yet what it is.
                Place::Done if seen.making => {}
                Place::Done => memory.destroy(seen, now, &mut plan),
            }
        }
        memory.refill(view, waiting, free_starts, now, &mut plan);
        // A dead caller is noticed by looking: its death moves no file.
        if view.seen.iter().any(|seen| matches!(seen.place, Place::Claimed | Place::Used)) {
            plan.look_at(now + CLAIMER_LOOK);
        }
        plan
    }

    /// A start succeeded.
    pub fn started(&mut self, template: &QubeName) {
        self.memory(template).succeeded();
    }

    /// A start failed: the next is tried after 2, 4, 8 … seconds, at most 5 minutes. After three that came up but failed
    /// their check none is tried until something changes or a call asks (users.md M9). Returns how long; `None`: not at all.
    pub fn failed(&mut self, template: &QubeName, failure: Failure, now: u64) -> Option<Duration> {
        self.memory(template).failed(failure, now)
    }

    /// A destruction failed: it is tried again a few seconds later.
    pub fn not_destroyed(&mut self, template: &QubeName, place: Place, file: &str, now: u64) {
        self.memory(template).not_destroyed(place, file, now);
    }

    /// Something about the template changed: refill after `delay` (R43), so that a burst of changes costs one refill.
    pub fn changed(&mut self, template: &QubeName, delay: Duration, now: u64) {
        self.memory(template).changed(delay, now);
    }

    fn memory(&mut self, template: &QubeName) -> &mut Memory {
        self.templates.entry(template.clone()).or_default()
    }
}

impl View {
    fn of(&self, place: Place) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(move |seen| seen.place == place)
    }
}

impl Plan {
    pub(super) fn look_at(&mut self, time: u64) {
        self.again_at = Some(self.again_at.map_or(time, |before| before.min(time)));
    }
}

fn reason_against(seen: &Seen, view: &View, waiting: usize) -> Option<String> {
    let Some(entry) = &seen.entry else { return Some("its file in the queue cannot be read".into()) };
    if entry.claimer.is_some() {
        return Some("a call had begun to claim it and died".into());
    }
    if entry.generation != view.generation {
        return Some("its template has changed".into());
    }
    match seen.domain {
        Domain::Running => return Some("somebody else woke it".into()),
        Domain::Gone => return Some("it no longer exists".into()),
        Domain::Paused | Domain::Unchecked => {}
    }
    (waiting >= view.limits.max).then(|| format!("only {} may wait", view.limits.max))
}

fn discard(seen: &Seen, reason: String) -> Action {
    let name = seen.entry.as_ref().map_or_else(|| seen.file.clone(), |entry| entry.name.to_string());
    Action::Discard { place: seen.place, file: seen.file.clone(), name, reason }
}

/// How often the claimers of running calls are looked at, in nanoseconds.
const CLAIMER_LOOK: u64 = 500_000_000;

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
