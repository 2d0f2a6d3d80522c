//! The world around queue and keeper: a model in one thread, driven by a seed.

mod callers;
mod keeping;

use callers::Caller;
use disposable::entry::Entry;
use disposable::keeper::{Delay, Keeper, Limits};
use disposable::queue::{Place, Queue, Reservation};
use names::{DomId, Generation, QubeName, Uuid};
use os::process::ProcessId;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

pub(crate) const SECOND: u64 = 1_000_000_000;

/// A domain of the hypervisor.
#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) uuid: Uuid,
    pub(crate) name: QubeName,
    /// `None` while it is halted: created, never started.
    pub(crate) domid: Option<DomId>,
    pub(crate) pauses: u32,
    /// What the template was like when it was made.
    pub(crate) version: u64,
}

/// What happened, to be sure that it did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) warm: u32,
    pub(crate) reserved: u32,
    pub(crate) cold: u32,
    pub(crate) discarded: u32,
    pub(crate) keeper_deaths: u32,
    pub(crate) reboots: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.warm += other.warm;
        self.reserved += other.reserved;
        self.cold += other.cold;
        self.discarded += other.discarded;
        self.keeper_deaths += other.keeper_deaths;
        self.reboots += other.reboots;
    }
}

/// A disposable that the living keeper is making.
#[derive(Debug)]
pub(crate) struct Making {
    pub(crate) reservation: Reservation,
    pub(crate) stage: Stage,
    pub(crate) entry: Option<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Reserved,
    Created,
    Noted,
    Started,
    Checked,
    Paused,
}

/// The keeper's process.
#[derive(Debug)]
pub(crate) struct Living {
    pub(crate) keeper: Keeper,
    pub(crate) making: Vec<Making>,
    pub(crate) destroying: Vec<(Place, String, Option<Entry>)>,
    /// Events of the template that it has not taken in yet.
    pub(crate) unheard: bool,
}

pub(crate) struct World<'q> {
    random: u64,
    pub(crate) root: &'q Path,
    pub(crate) queue: &'q Queue,
    told: &'q mut Vec<String>,
    pub(crate) tally: Tally,
    pub(crate) now: u64,
    pub(crate) limits: Limits,
    /// What the template is like.
    pub(crate) version: u64,
    /// What it was like when the keeper last heard of it.
    pub(crate) heard: u64,
    pub(crate) domains: BTreeMap<Uuid, Domain>,
    pub(crate) next: u32,
    pub(crate) living: Option<Living>,
    pub(crate) callers: Vec<Caller<'q>>,
    pub(crate) alive: HashSet<ProcessId>,
    /// Everything that was ever claimed or handed out.
    pub(crate) touched: HashSet<Uuid>,
}

impl<'q> World<'q> {
    pub(crate) fn new(seed: u64, root: &'q Path, queue: &'q Queue, told: &'q mut Vec<String>) -> Self {
        let mut world = Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1,
            root,
            queue,
            told,
            tally: Tally::default(),
            now: 1_000 * SECOND,
            limits: Limits { max: 2, delay: Delay::After(Duration::ZERO) },
            version: 1,
            heard: 0,
            domains: BTreeMap::new(),
            next: 0,
            living: None,
            callers: Vec::new(),
            alive: HashSet::new(),
            touched: HashSet::new(),
        };
        world.begin_keeper();
        world
    }

    /// A number below `bound`; the whole run follows from the seed (splitmix64).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn tell(&mut self, line: String) {
        self.told.push(line);
    }

    /// One random action.
    pub(crate) fn act(&mut self) {
        self.now += SECOND / 3;
        match self.below(100) {
            0..8 => self.request(),
            8..20 => self.advance_caller(),
            20..60 => (0..3).for_each(|_| self.advance_start()),
            60..76 => drop(self.pass()),
            76..80 => self.finish_destroy(),
            80..83 => {
                self.version += 1;
                let version = self.version;
                self.tell(format!("the template changes: version {version}"));
                if let Some(living) = &mut self.living {
                    living.unheard = true;
                }
            }
            83..86 => self.hear(),
            86 => {
                self.limits.max = self.below(5);
                let delays = [
                    Delay::After(Duration::ZERO),
                    Delay::After(Duration::from_secs(3)),
                    Delay::WhenEmpty(Duration::from_secs(1)),
                ];
                self.limits.delay = delays[self.below(3)];
                let limits = self.limits;
                self.tell(format!("limits: {limits:?}"));
            }
            87..91 => {
                let seconds = u64::try_from(self.below(40)).unwrap();
                self.now += seconds * SECOND;
                self.tell(format!("{seconds} s pass"));
            }
            91..94 => self.meddle(),
            94 => self.kill_keeper(),
            95..99 if self.living.is_none() => self.begin_keeper(),
            99 if self.below(2) == 0 => self.reboot(),
            _ => drop(self.pass()),
        }
    }

    /// A new domain; after a reboot numbers begin anew, so that old entries name the numbers of strangers.
    pub(crate) fn create(&mut self) -> Domain {
        self.next += 1;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.next.to_le_bytes());
        let domain = Domain {
            uuid: Uuid::from_random(bytes),
            name: format!("disp{}", self.next).parse().unwrap(),
            domid: None,
            pauses: 0,
            version: self.version,
        };
        self.domains.insert(domain.uuid, domain.clone());
        domain
    }

    pub(crate) fn start_domain(&mut self, uuid: Uuid) -> Option<DomId> {
        let taken: HashSet<u16> =
            self.domains.values().filter_map(|domain| domain.domid).map(DomId::get).collect();
        let free = (1..30_000u16).find(|number| !taken.contains(number)).unwrap();
        let domain = self.domains.get_mut(&uuid)?;
        domain.domid = Some(DomId::try_from(u32::from(free)).unwrap());
        domain.domid
    }

    pub(crate) fn entry_of(&self, domain: &Domain) -> Entry {
        Entry {
            name: domain.name.clone(),
            uuid: domain.uuid,
            domid: domain.domid.unwrap_or(DomId::DOM0),
            template: crate::common::template(),
            generation: Generation(0),
            created: 1,
            claimer: None,
        }
    }

    /// Somebody who knows nothing of the queue wakes or kills a waiting disposable.
    fn meddle(&mut self) {
        let waiting: Vec<Uuid> =
            self.domains.values().filter(|domain| domain.pauses > 0).map(|domain| domain.uuid).collect();
        if waiting.is_empty() {
            return;
        }
        let uuid = waiting[self.below(waiting.len())];
        let name = self.domains[&uuid].name.clone();
        match self.below(3) {
            0 => {
                self.tell(format!("somebody wakes {name}"));
                let domain = self.domains.get_mut(&uuid).unwrap();
                domain.pauses -= 1;
                // Two pauses and one wake-up: it has slept on.
                if domain.pauses == 0 {
                    self.touched.insert(uuid);
                }
            }
            1 => {
                self.tell(format!("somebody pauses {name} too"));
                self.domains.get_mut(&uuid).unwrap().pauses += 1;
            }
            _ => {
                self.tell(format!("somebody kills {name}"));
                self.domains.remove(&uuid);
            }
        }
    }

    /// The host goes down and comes up again with the queue as it was: worse than tmpfs.
    fn reboot(&mut self) {
        self.tell("the host goes down and comes up again".into());
        self.tally.reboots += 1;
        self.kill_keeper();
        for caller in self.callers.drain(..) {
            caller.vanish();
        }
        self.domains.clear();
        std::fs::write(self.root.join("boot"), "another boot").unwrap();
        // Strangers get the numbers; and some process has the pid and start time that an old claimer had.
        for _ in 0..3 {
            let mut stranger = self.create();
            stranger.pauses = u32::try_from(self.below(2)).unwrap();
            let uuid = stranger.uuid;
            self.domains.insert(uuid, stranger);
            self.start_domain(uuid);
            self.callers.push(Caller::owning(uuid));
            self.touched.insert(uuid);
        }
    }

    /// What holds after every action, whoever lives.
    pub(crate) fn check(&mut self) {
        let mut names = HashSet::new();
        for place in Place::ALL {
            for listed in self.queue.list(place).unwrap() {
                let Some(entry) = listed.entry else { continue };
                assert!(names.insert(entry.name.clone()), "{} lies in two places", entry.name);
                // P2; a half-made claim says so in the file itself.
                if place == Place::Ready && entry.claimer.is_none() && self.trusted() {
                    let meddled = self.domains.get(&entry.uuid).is_none_or(|domain| domain.pauses == 0);
                    assert!(
                        meddled || !self.touched.contains(&entry.uuid),
                        "{} is back in the queue",
                        entry.name
                    );
                }
            }
        }
    }

    /// Everything comes to rest: then the queue is full of good ones and nothing else is left.
    pub(crate) fn end(&mut self) {
        self.tell("the end: all calls end, the keeper works on".into());
        for caller in self.callers.drain(..) {
            if let Some(uuid) = caller.vanish() {
                // Strangers and half-made ones without an entry end by themselves.
                let known = self.queue.list(Place::Claimed).unwrap().into_iter();
                let mut known = known.chain(self.queue.list(Place::Used).unwrap());
                if !known.any(|listed| listed.entry.is_some_and(|entry| entry.uuid == uuid)) {
                    self.domains.remove(&uuid);
                }
            }
        }
        self.alive.clear();
        if self.living.is_none() {
            self.begin_keeper();
        }
        let mut quiet = 0;
        for _ in 0..60 {
            self.now += 400 * SECOND;
            self.hear();
            quiet = if self.pass() { 0 } else { quiet + 1 };
            self.finish_all();
            // Some looks do not ask the hypervisor, and some find no memory.
            if quiet == 8 {
                break;
            }
        }
        self.settled();
        let ready = self.queue.count(Place::Ready).unwrap();
        let least = match self.limits.delay {
            Delay::After(_) => self.limits.max,
            Delay::WhenEmpty(_) => self.limits.max.min(1),
        };
        assert!((least..=self.limits.max).contains(&ready), "{ready} are ready, {least} should be");
        for place in [Place::Starting, Place::Claimed, Place::Used, Place::Done] {
            assert_eq!(self.queue.count(place).unwrap(), 0, "nothing is left in {}", place.as_str());
        }
        assert_eq!(self.domains.len(), ready, "no domain is left: {:?}", self.domains);
    }
}
