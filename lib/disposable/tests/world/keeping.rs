//! The keeper's process in the model: the real plan, with the driver's steps taken one at a time.

use super::{Living, Making, SECOND, Stage, World};
use disposable::keeper::{Action, Domain as Asked, Failure, Keeper, Seen, View};
use disposable::queue::{self, Place, Reservation, Standing};
use os::process::ProcessId;
use std::collections::HashSet;
use std::time::Duration;

impl World<'_> {
    /// A keeper starts: repairs, looks for what an earlier one had begun, compares, and only then is trusted.
    pub(crate) fn begin_keeper(&mut self) {
        self.tell("a keeper starts".into());
        let of_another_boot = queue::is_of_another_boot(self.root).unwrap();
        self.queue.recover().unwrap();
        if of_another_boot {
            for place in [Place::Starting, Place::Ready, Place::Claimed, Place::Used] {
                for listed in self.queue.list(place).unwrap() {
                    self.queue.discard(place, &listed.file).unwrap();
                }
            }
        }
        queue::note_boot(self.root).unwrap();
        self.strays();
        self.queue.refresh(&self.version.to_string()).unwrap();
        self.heard = self.version;
        self.living = Some(Living {
            keeper: Keeper::default(),
            making: Vec::new(),
            destroying: Vec::new(),
            unheard: false,
        });
    }

    /// Halted disposables that no place knows, where a reservation of a dead keeper wanted one.
    fn strays(&mut self) {
        let mut known = HashSet::new();
        let mut wanted = false;
        for place in Place::ALL {
            for listed in self.queue.list(place).unwrap() {
                wanted |= listed.entry.is_none() && Reservation::starter(&listed.file).is_some();
                known.extend(listed.entry.map(|entry| entry.uuid));
            }
        }
        if wanted {
            self.domains.retain(|uuid, domain| domain.domid.is_some() || known.contains(uuid));
        }
    }

    pub(crate) fn kill_keeper(&mut self) {
        if self.living.take().is_some() {
            self.tally.keeper_deaths += 1;
            self.tell("the keeper is killed".into());
        }
    }

    /// The event of a change arrives.
    pub(crate) fn hear(&mut self) {
        if !self.living.as_ref().is_some_and(|living| living.unheard) {
            return;
        }
        self.queue.bump_generation().unwrap();
        self.queue.store_fingerprint(&self.version.to_string()).unwrap();
        self.heard = self.version;
        self.tell("the keeper hears of the change".into());
        let living = self.living.as_mut().unwrap();
        living.unheard = false;
        living.keeper.changed(&crate::common::template(), Duration::from_secs(30), self.now);
    }

    /// One look of the keeper, and what follows. Tells whether there was anything to do.
    pub(crate) fn pass(&mut self) -> bool {
        let full = self.below(2) == 0;
        let Some(mut living) = self.living.take() else { return false };
        let mut seen = Vec::new();
        for place in Place::ALL {
            for listed in self.queue.list(place).unwrap() {
                let making = living.making.iter().any(|making| making.reservation.label == listed.file);
                let owner_lives = listed.claimer.is_some_and(|claimer| self.alive.contains(&claimer));
                let domain = match &listed.entry {
                    Some(entry) if full && place == Place::Ready => match self.info(entry.domid) {
                        Some(info) if info.uuid != entry.uuid => Asked::Gone,
                        Some(info) if info.paused => Asked::Paused,
                        Some(_) => Asked::Running,
                        None => Asked::Gone,
                    },
                    _ => Asked::Unchecked,
                };
                seen.push(Seen {
                    place,
                    file: listed.file,
                    entry: listed.entry,
                    making,
                    owner_lives,
                    domain,
                });
            }
        }
        let affordable = if self.below(10) == 0 { 0 } else { usize::MAX };
        let generation = self.queue.generation().unwrap();
        let view =
            View { template: crate::common::template(), limits: self.limits, generation, affordable, seen };
        let free = 2usize.saturating_sub(living.making.len());
        let plan = living.keeper.plan(&view, free, self.now);
        let busy = !plan.actions.is_empty();
        for action in plan.actions {
            self.tell(format!("keeper: {action:?}"));
            match action {
                Action::Start => {
                    // A plan may be old by the time it is followed; room is reserved all the same (M7).
                    for _ in 0..=usize::from(self.below(8) == 0) {
                        let label = Reservation::label(ProcessId::own(), self.now + u64::from(self.next));
                        self.next += 1;
                        if let Some(reservation) = self.queue.reserve(&label, self.limits.max).unwrap() {
                            living.making.push(Making { reservation, stage: Stage::Reserved, entry: None });
                        }
                    }
                }
                Action::Discard { place, file, .. } => drop(self.queue.discard(place, &file).unwrap()),
                Action::Destroy { place, file, entry } => living.destroying.push((place, file, entry)),
                Action::SayShort(_) | Action::Release(_) => {}
            }
        }
        let starting = self.queue.list(Place::Starting).unwrap().into_iter();
        // What a dead keeper left in starting/ takes room until its domain is gone, but nobody will get it.
        let starting = starting
            .filter(|listed| living.making.iter().any(|making| making.reservation.label == listed.file));
        let waiting = starting.count() + self.queue.count(Place::Ready).unwrap();
        assert!(waiting <= self.limits.max, "P4: {waiting} wait, {} may", self.limits.max);
        self.living = Some(living);
        busy
    }

    /// One of the destructions under way ends, well or not.
    pub(crate) fn finish_destroy(&mut self) {
        let fails = self.below(5) == 0;
        self.end_destroy(fails);
    }

    fn end_destroy(&mut self, fails: bool) -> bool {
        let Some(mut living) = self.living.take() else { return false };
        let ended = living.destroying.pop();
        if let Some((place, file, entry)) = &ended {
            if fails {
                living.keeper.not_destroyed(&crate::common::template(), *place, file, self.now);
            } else {
                if let Some(entry) = entry {
                    assert!(
                        !self.owned_by_a_living_call(entry.uuid),
                        "a living call's {} is destroyed",
                        entry.name
                    );
                    self.domains.remove(&entry.uuid);
                } else {
                    self.unnoted(file, &living);
                }
                self.queue.forget(*place, file).unwrap();
            }
        }
        self.living = Some(living);
        ended.is_some()
    }

    /// What somebody who died had wanted, and what is halted and known to nobody.
    fn unnoted(&mut self, file: &str, living: &Living) {
        if Reservation::starter(file).is_none() {
            return;
        }
        let known: HashSet<_> = Place::ALL
            .into_iter()
            .flat_map(|place| self.queue.list(place).unwrap())
            .filter_map(|listed| listed.entry)
            .chain(living.making.iter().filter_map(|making| making.entry.clone()))
            .map(|entry| entry.uuid)
            .collect();
        self.domains.retain(|uuid, domain| domain.domid.is_some() || known.contains(uuid));
    }

    fn owned_by_a_living_call(&self, uuid: names::Uuid) -> bool {
        self.owns(uuid) && self.domains.contains_key(&uuid)
    }

    /// One of the starts under way gets on, or fails, or is handed over.
    pub(crate) fn advance_start(&mut self) {
        let fails = self.below(12) == 0;
        let Some(mut living) = self.living.take() else { return };
        if living.making.is_empty() {
            self.living = Some(living);
            return;
        }
        let index = self.below(living.making.len());
        let mut making = living.making.swap_remove(index);
        match self.step(&mut making, fails) {
            Step::On => living.making.push(making),
            Step::Succeeded => living.keeper.started(&crate::common::template()),
            Step::Failed(failure) => {
                self.tell(format!("{} failed at {:?}", making.reservation.label, making.stage));
                self.queue.abandon(&making.reservation).unwrap();
                if let Some(entry) = &making.entry {
                    self.domains.remove(&entry.uuid);
                }
                living.keeper.failed(&crate::common::template(), failure, self.now);
            }
        }
        self.living = Some(living);
    }

    fn step(&mut self, making: &mut Making, fails: bool) -> Step {
        if fails {
            return Step::Failed(if making.stage == Stage::Started {
                Failure::Check
            } else {
                Failure::Start
            });
        }
        let next = match (making.stage, making.entry.clone()) {
            (Stage::Reserved, _) => {
                let generation = self.queue.generation().unwrap();
                let domain = self.create();
                let mut entry = self.entry_of(&domain);
                entry.generation = generation;
                making.entry = Some(entry);
                Stage::Created
            }
            (_, None) => unreachable!("every later stage has an entry"),
            (Stage::Created, Some(entry)) => match self.queue.note(&making.reservation, &entry).unwrap() {
                Standing::Gone => return Step::Failed(Failure::Start),
                _ => Stage::Noted,
            },
            (Stage::Noted, Some(mut entry)) => {
                let Some(domid) = self.start_domain(entry.uuid) else { return Step::Failed(Failure::Start) };
                entry.domid = domid;
                making.entry = Some(entry.clone());
                match self.queue.note(&making.reservation, &entry).unwrap() {
                    Standing::Gone => return Step::Failed(Failure::Start),
                    _ => Stage::Started,
                }
            }
            (Stage::Started, Some(_)) => Stage::Checked,
            (Stage::Checked, Some(entry)) => match self.domains.get_mut(&entry.uuid) {
                Some(domain) => {
                    domain.pauses += 1;
                    Stage::Paused
                }
                None => return Step::Failed(Failure::Start),
            },
            (Stage::Paused, Some(_)) => {
                if self.queue.enqueue(&making.reservation).unwrap() {
                    return Step::Succeeded;
                }
                Stage::Paused
            }
        };
        let was = std::mem::replace(&mut making.stage, next);
        self.look_at_reservation(making, was)
    }

    /// From `Started` on a reserved one is handed over at once.
    fn look_at_reservation(&mut self, making: &Making, was: Stage) -> Step {
        match self.queue.standing(&making.reservation).unwrap() {
            Standing::Gone => Step::Failed(Failure::Start),
            Standing::Reserved(_) if making.stage == Stage::Started || was == Stage::Started => {
                self.hand_over(making)
            }
            Standing::Reserved(_) if was == Stage::Paused => {
                let uuid = making.entry.as_ref().unwrap().uuid;
                match self.domains.get_mut(&uuid) {
                    Some(domain) if domain.pauses > 0 => domain.pauses -= 1,
                    _ => return Step::Failed(Failure::Start),
                }
                self.hand_over(making)
            }
            _ => Step::On,
        }
    }

    fn hand_over(&mut self, making: &Making) -> Step {
        let entry = making.entry.as_ref().unwrap();
        self.tell(format!("{} is handed over running", entry.name));
        match self.queue.hand_over(&making.reservation, entry).unwrap() {
            Standing::Reserved(_) => Step::Succeeded,
            _ => Step::Failed(Failure::Start),
        }
    }

    /// Everything under way ends well.
    pub(crate) fn finish_all(&mut self) {
        while self.end_destroy(false) {}
        for _ in 0..40 {
            let Some(mut living) = self.living.take() else { return };
            let Some(mut making) = living.making.pop() else {
                self.living = Some(living);
                return;
            };
            match self.step(&mut making, false) {
                Step::On => living.making.push(making),
                Step::Succeeded => living.keeper.started(&crate::common::template()),
                Step::Failed(failure) => {
                    self.queue.abandon(&making.reservation).unwrap();
                    making.entry.map(|entry| self.domains.remove(&entry.uuid));
                    living.keeper.failed(&crate::common::template(), failure, self.now);
                }
            }
            self.living = Some(living);
        }
    }

    /// What holds when the keeper has nothing more to do.
    pub(crate) fn settled(&mut self) {
        self.now += SECOND;
        let current = self.queue.generation().unwrap();
        for listed in self.queue.list(Place::Ready).unwrap() {
            let entry = listed.entry.expect("every ready entry can be read");
            let domain = self.domains.get(&entry.uuid).expect("no entry without a domain");
            assert!(domain.pauses > 0 && domain.domid == Some(entry.domid), "{} does not wait", entry.name);
            assert_eq!(entry.generation, current, "{} is stale", entry.name);
        }
        let places: HashSet<_> = Place::ALL
            .iter()
            .flat_map(|place| self.queue.list(*place).unwrap())
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|listed| listed.entry)
            .map(|entry| entry.uuid)
            .collect();
        for (uuid, domain) in &self.domains {
            assert!(places.contains(uuid) || self.owns(*uuid), "{} has no entry and no owner", domain.name);
        }
    }
}

enum Step {
    On,
    Succeeded,
    Failed(Failure),
}
