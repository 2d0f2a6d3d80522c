//! A queue and its domains on disk. A domain is a file named `UUID.NAME.STATE`, so that each change is one system call.

use crate::common;
use disposable::entry::Entry;
use disposable::queue::{Place, Queue, Reservation};
use names::Uuid;
use os::process::ProcessId;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

pub(crate) struct Site {
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) name: String,
    /// `halted`, `running` or `paused`.
    pub(crate) state: String,
}

impl Site {
    pub(crate) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("queue")
    }

    pub(crate) fn queue(&self) -> Queue {
        common::queue(&self.root())
    }

    fn file(&self, uuid: Uuid, name: &str, state: &str) -> PathBuf {
        self.directory.join("domains").join(format!("{uuid}.{name}.{state}"))
    }

    pub(crate) fn domains(&self) -> BTreeMap<Uuid, Domain> {
        let files = fs::read_dir(self.directory.join("domains")).unwrap();
        let parse = |file: String| -> (Uuid, Domain) {
            let parts: Vec<&str> = file.split('.').collect();
            (parts[0].parse().unwrap(), Domain { name: parts[1].into(), state: parts[2].into() })
        };
        files.map(|file| parse(file.unwrap().file_name().into_string().unwrap())).collect()
    }

    pub(crate) fn create(&self, entry: &Entry) {
        fs::File::create(self.file(entry.uuid, entry.name.as_str(), "halted")).unwrap();
    }

    pub(crate) fn shift(&self, entry: &Entry, from: &str, to: &str) {
        let name = entry.name.as_str();
        fs::rename(self.file(entry.uuid, name, from), self.file(entry.uuid, name, to)).unwrap();
    }

    pub(crate) fn destroy(&self, uuid: Uuid) {
        if let Some(domain) = self.domains().get(&uuid) {
            fs::remove_file(self.file(uuid, &domain.name, &domain.state)).unwrap();
        }
    }

    /// Two good ones wait; for a recovery there is also one of everything that a crash can leave.
    pub(crate) fn prepare(&self, operation: &str) {
        fs::create_dir_all(self.directory.join("domains")).unwrap();
        let queue = self.queue();
        disposable::queue::note_boot(&self.root()).unwrap();
        queue.refresh("as made").unwrap();
        for number in [1, 2] {
            self.make(&queue, number, ProcessId::own());
        }
        if operation == "reserve" {
            // None is ready: the one that starts is reserved.
            for listed in queue.list(Place::Ready).unwrap() {
                self.destroy(listed.entry.unwrap().uuid);
                queue.forget(Place::Ready, &listed.file).unwrap();
            }
            let starting = queue.reserve(&Reservation::label(ProcessId::own(), 5), 9).unwrap().unwrap();
            self.create(&common::entry(5));
            queue.note(&starting, &self.entry(&queue, 5)).unwrap();
            self.shift(&common::entry(5), "halted", "running");
        }
        if operation == "recover" {
            self.leave_everything(&queue);
        }
    }

    pub(crate) fn entry(&self, queue: &Queue, number: u32) -> Entry {
        Entry { generation: queue.generation().unwrap(), ..common::entry(number) }
    }

    /// All steps from a reservation to a waiting disposable.
    pub(crate) fn make(&self, queue: &Queue, number: u32, starter: ProcessId) {
        let label = Reservation::label(starter, u64::from(number));
        let reservation = queue.reserve(&label, 99).unwrap().unwrap();
        let entry = self.entry(queue, number);
        self.create(&entry);
        queue.note(&reservation, &entry).unwrap();
        self.shift(&entry, "halted", "running");
        queue.note(&reservation, &entry).unwrap();
        self.shift(&entry, "running", "paused");
        assert!(queue.enqueue(&reservation).unwrap());
    }

    fn leave_everything(&self, queue: &Queue) {
        let dead = ProcessId { pid: 4_000_000, start: 1 };
        let place = |place: &str, file: &str, text: String| {
            fs::write(self.root().join(common::template().as_str()).join(place).join(file), text).unwrap();
        };
        let of = |number| Entry { claimer: Some(dead), ..self.entry(queue, number) }.to_string();
        for number in 11..=17 {
            self.create(&common::entry(number));
        }
        for number in 12..=17 {
            self.shift(&common::entry(number), "halted", "running");
        }
        // 11: created and not yet noted. 12: noted, started.
        place("starting", &Reservation::label(dead, 11), String::new());
        place("starting", &Reservation::label(dead, 12), self.entry(queue, 12).to_string());
        place("claimed", "disp13", of(13));
        place("used", "disp14", of(14));
        place("done", "disp15", of(15));
        self.shift(&common::entry(16), "running", "paused");
        place("ready", "000000000016", of(16));
        self.shift(&common::entry(17), "running", "paused");
        let stale = Entry { generation: names::Generation(0), ..common::entry(17) };
        place("ready", "000000000017", stale.to_string());
        place(".", "half.new", "name=di".into());
        place("done", &Reservation::label(dead, 18), format!("claimer={dead}\n"));
    }

    /// Nothing is leaked, nothing doubtful waits, and nothing is lost that nobody touched.
    pub(crate) fn check(&self, operation: &str, point: usize) {
        let when = format!("{operation} killed before system call {point}");
        let queue = self.queue();
        for place in [Place::Starting, Place::Claimed, Place::Used, Place::Done] {
            assert_eq!(queue.list(place).unwrap(), [], "{when}: left in {}", place.as_str());
        }
        let mut expected = vec!["fingerprint", "generation", "lock"];
        expected.extend(Place::ALL.map(Place::as_str));
        expected.sort_unstable();
        let mut files: Vec<String> = fs::read_dir(self.root().join(common::template().as_str()))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, expected, "{when}: temporary files");
        let mut domains = self.domains();
        let generation = queue.generation().unwrap();
        let mut names = Vec::new();
        while let Some(claimed) = queue.claim(ProcessId::own()).unwrap().claimed {
            let domain = domains.remove(&claimed.entry().uuid).unwrap_or_else(|| panic!("{when}: no domain"));
            assert_eq!(domain.state, "paused", "{when}: {} waits", domain.name);
            assert_eq!(claimed.entry().generation, generation, "{when}: stale");
            names.push(domain.name);
        }
        assert!(domains.is_empty(), "{when}: leaked {domains:?}");
        let untouched: &[&str] = match operation {
            "call" => &["disp2"],
            "cold" | "make" | "recover" => &["disp1", "disp2"],
            _ => &[],
        };
        for name in untouched {
            assert!(names.iter().any(|other| other == name), "{when}: {name} was lost, {names:?} wait");
        }
    }
}
