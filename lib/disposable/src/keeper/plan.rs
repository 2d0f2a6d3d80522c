//! From what lies in the places to what is to be done. Pure: times are nanoseconds of a monotonic clock, passed in.

use super::limits::{Delay, Limits};
use crate::entry::Entry;
use crate::queue::Place;
use names::{Generation, QubeName};
use std::collections::{HashMap, HashSet};
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
    /// Files of all places.
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
    /// Whether the process that took it, or is making it, still lives.
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

#[derive(Debug, Default)]
struct Memory {
    /// No refill before this time.
    refill_at: u64,
    /// Starts that failed in a row.
    failures: u32,
    /// Files whose use has been noticed.
    counted: HashSet<String>,
    /// Files that are being destroyed.
    destroying: HashSet<(Place, String)>,
}

impl Keeper {
    /// Compares a view with what should be. `free_starts` is how many more may start at the same time.
    pub fn plan(&mut self, view: &View, free_starts: usize, now: u64) -> Plan {
        let memory = self.templates.entry(view.template.clone()).or_default();
        let mut plan = Plan::default();
        let mut waiting = 0;
        memory.forget_vanished(view);
        for seen in &view.seen {
            match seen.place {
                Place::Starting if seen.owner_lives => waiting += 1,
                Place::Ready => match reason_against(seen, view, waiting) {
                    Some(reason) => plan.actions.push(discard(seen, reason)),
                    None => waiting += 1,
                },
                Place::Claimed | Place::Used if seen.owner_lives => memory.note_use(seen, view, now),
                Place::Starting | Place::Claimed | Place::Used | Place::Done => {
                    memory.note_use(seen, view, now);
                    if memory.destroying.insert((seen.place, seen.file.clone())) {
                        let (place, file, entry) = (seen.place, seen.file.clone(), seen.entry.clone());
                        plan.actions.push(Action::Destroy { place, file, entry });
                    }
                }
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
        self.templates.entry(template.clone()).or_default().failures = 0;
    }

    /// A start failed: the next is tried after 2, 4, 8 … seconds, at most 5 minutes (no endless retry, users.md M9).
    /// Returns how long.
    pub fn failed(&mut self, template: &QubeName, now: u64) -> Duration {
        let memory = self.templates.entry(template.clone()).or_default();
        memory.failures = memory.failures.saturating_add(1);
        let wait = Duration::from_secs(1u64 << memory.failures.min(9)).min(LONGEST_BACK_OFF);
        memory.refill_at = memory.refill_at.max(now + nanoseconds(wait));
        wait
    }

    /// A destruction failed: it is tried again at a later look.
    pub fn not_destroyed(&mut self, template: &QubeName, place: Place, file: &str) {
        if let Some(memory) = self.templates.get_mut(template) {
            memory.destroying.remove(&(place, file.to_owned()));
        }
    }

    /// Something about the template changed: refill after `delay` (R43), so that a burst of changes costs one refill.
    pub fn changed(&mut self, template: &QubeName, delay: Duration, now: u64) {
        let memory = self.templates.entry(template.clone()).or_default();
        memory.refill_at = memory.refill_at.max(now + nanoseconds(delay));
    }
}

impl Memory {
    /// Each use sets the time of the next refill once (R45, R89).
    fn note_use(&mut self, seen: &Seen, view: &View, now: u64) {
        let Some(entry) = &seen.entry else { return };
        if entry.claimer.is_none() || !self.counted.insert(entry.name.to_string()) {
            return;
        }
        let (Delay::After(delay) | Delay::WhenEmpty(delay)) = view.limits.delay;
        self.refill_at = self.refill_at.max(now + nanoseconds(delay));
    }

    fn refill(&self, view: &View, waiting: usize, free_starts: usize, now: u64, plan: &mut Plan) {
        let room = view.limits.max.saturating_sub(waiting);
        if room == 0
            || (matches!(view.limits.delay, Delay::WhenEmpty(_))
                && waiting > 0
                && waiting < view.limits.max
                && self.was_used())
        {
            return;
        }
        if now < self.refill_at {
            plan.look_at(self.refill_at);
            return;
        }
        plan.actions.extend((0..room.min(free_starts)).map(|_| Action::Start));
    }

    fn was_used(&self) -> bool {
        self.refill_at > 0
    }

    fn forget_vanished(&mut self, view: &View) {
        let present =
            |place: Place, file: &str| view.seen.iter().any(|seen| seen.place == place && seen.file == file);
        self.destroying.retain(|(place, file)| present(*place, file));
        let named = |name: &String| {
            view.seen.iter().filter_map(|seen| seen.entry.as_ref()).any(|entry| entry.name.as_str() == name)
        };
        self.counted.retain(named);
    }
}

impl Plan {
    fn look_at(&mut self, time: u64) {
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

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// How often the claimers of running calls are looked at, in nanoseconds.
const CLAIMER_LOOK: u64 = 500_000_000;
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::tests::sample;
    use os::process::ProcessId;

    const SECOND: u64 = 1_000_000_000;

    fn view(max: usize, delay: Delay, seen: Vec<Seen>) -> View {
        View {
            template: "default-dvm".parse().unwrap(),
            limits: Limits { max, delay },
            generation: Generation(0),
            seen,
        }
    }

    fn seen(place: Place, number: u16, owner_lives: bool, domain: Domain) -> Seen {
        let mut entry = sample(number);
        if place > Place::Ready {
            entry.claimer = Some(ProcessId { pid: 1, start: 1 });
        }
        Seen { place, file: format!("f{number}"), entry: Some(entry), owner_lives, domain }
    }

    fn starts(plan: &Plan) -> usize {
        plan.actions.iter().filter(|action| **action == Action::Start).count()
    }

    const AT_ONCE: Delay = Delay::After(Duration::ZERO);

    #[test]
    fn p4_starts_fill_the_room_and_no_more() {
        let mut keeper = Keeper::default();
        assert_eq!(starts(&keeper.plan(&view(3, AT_ONCE, vec![]), 8, 1)), 3);
        assert_eq!(starts(&keeper.plan(&view(3, AT_ONCE, vec![]), 2, 1)), 2);
        let two = vec![
            seen(Place::Starting, 1, true, Domain::Unchecked),
            seen(Place::Ready, 2, false, Domain::Paused),
        ];
        assert_eq!(starts(&keeper.plan(&view(3, AT_ONCE, two), 8, 1)), 1);
        assert_eq!(starts(&keeper.plan(&view(0, AT_ONCE, vec![]), 8, 1)), 0);
    }

    #[test]
    fn p2_what_was_touched_is_discarded_with_its_reason() {
        let mut keeper = Keeper::default();
        let mut stale = seen(Place::Ready, 4, false, Domain::Paused);
        stale.entry.as_mut().unwrap().generation = Generation(7);
        let mut begun = seen(Place::Ready, 5, false, Domain::Paused);
        begun.entry.as_mut().unwrap().claimer = Some(ProcessId { pid: 1, start: 1 });
        let broken = Seen { entry: None, ..seen(Place::Ready, 6, false, Domain::Paused) };
        let all = vec![
            seen(Place::Ready, 1, false, Domain::Paused),
            seen(Place::Ready, 2, false, Domain::Running),
            seen(Place::Ready, 3, false, Domain::Gone),
            stale,
            begun,
            broken,
            seen(Place::Ready, 7, false, Domain::Paused),
        ];
        let plan = keeper.plan(&view(1, AT_ONCE, all), 8, 1);
        let discarded: Vec<&str> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Discard { file, .. } => Some(file.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(discarded, ["f2", "f3", "f4", "f5", "f6", "f7"]);
    }

    #[test]
    fn p5_what_a_dead_caller_or_keeper_left_is_destroyed_once() {
        let mut keeper = Keeper::default();
        let all = vec![
            seen(Place::Starting, 1, false, Domain::Unchecked),
            seen(Place::Claimed, 2, false, Domain::Unchecked),
            seen(Place::Used, 3, false, Domain::Unchecked),
            seen(Place::Done, 4, false, Domain::Unchecked),
            seen(Place::Used, 5, true, Domain::Unchecked),
        ];
        let count = |plan: Plan| {
            plan.actions.iter().filter(|action| matches!(action, Action::Destroy { .. })).count()
        };
        assert_eq!(count(keeper.plan(&view(0, AT_ONCE, all.clone()), 8, 1)), 4);
        assert_eq!(count(keeper.plan(&view(0, AT_ONCE, all.clone()), 8, 2)), 0);
        keeper.not_destroyed(&"default-dvm".parse().unwrap(), Place::Done, "f4");
        assert_eq!(count(keeper.plan(&view(0, AT_ONCE, all), 8, 3)), 1);
    }

    #[test]
    fn p6_refill_waits_for_the_delay_after_a_use() {
        let mut keeper = Keeper::default();
        let delay = Delay::After(Duration::from_secs(3));
        let used = vec![seen(Place::Used, 1, true, Domain::Unchecked)];
        let plan = keeper.plan(&view(1, delay, used.clone()), 8, 10 * SECOND);
        assert_eq!(starts(&plan), 0);
        assert!(plan.again_at.is_some());
        assert_eq!(starts(&keeper.plan(&view(1, delay, used), 8, 13 * SECOND)), 1);
    }

    #[test]
    fn r88_negative_delay_refills_only_when_empty() {
        let mut keeper = Keeper::default();
        let delay = Delay::WhenEmpty(Duration::from_secs(1));
        let one_left =
            vec![seen(Place::Ready, 1, false, Domain::Paused), seen(Place::Used, 2, true, Domain::Unchecked)];
        assert_eq!(starts(&keeper.plan(&view(2, delay, one_left.clone()), 8, SECOND)), 0);
        assert_eq!(starts(&keeper.plan(&view(2, delay, one_left), 8, 60 * SECOND)), 0);
        assert_eq!(starts(&keeper.plan(&view(2, delay, vec![]), 8, 61 * SECOND)), 2);
    }

    #[test]
    fn m9_failures_back_off_and_a_success_forgives() {
        let mut keeper = Keeper::default();
        let template: QubeName = "default-dvm".parse().unwrap();
        assert_eq!(keeper.failed(&template, 0), Duration::from_secs(2));
        assert_eq!(keeper.failed(&template, 0), Duration::from_secs(4));
        assert_eq!(starts(&keeper.plan(&view(1, AT_ONCE, vec![]), 8, SECOND)), 0);
        for _ in 0..20 {
            assert!(keeper.failed(&template, 0) <= Duration::from_secs(300));
        }
        keeper.started(&template);
        assert_eq!(keeper.failed(&template, 0), Duration::from_secs(2));
    }
}
