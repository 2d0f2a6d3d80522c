//! Verification before and after the wake-up, against a hypervisor that counts pauses as Xen does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use disposable::entry::Entry;
use disposable::queue::{Place, Queue};
use disposable::wake;
use hypervisor::{DomainInfo, Hypervisor, HypervisorError};
use names::{DomId, Generation, QubeName, Uuid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// Domains with their count of pauses; `None` in place of the count: dying.
#[derive(Default)]
struct Counting(RefCell<HashMap<u16, Domain>>);

/// Name, identity, count of pauses.
type Domain = (String, Uuid, Option<u32>);

impl Counting {
    fn set(&self, number: u16, name: &str, uuid: Uuid, pauses: Option<u32>) {
        self.0.borrow_mut().insert(number, (name.to_owned(), uuid, pauses));
    }

    fn pauses(&self, number: u16) -> Option<u32> {
        self.0.borrow()[&number].2
    }
}

impl Hypervisor for Counting {
    fn info(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        Ok(self.0.borrow().get(&domid.get()).map(|(name, uuid, pauses)| DomainInfo {
            domid,
            uuid: *uuid,
            name: name.parse().unwrap(),
            paused: pauses.is_some_and(|count| count > 0),
            dying: pauses.is_none(),
        }))
    }

    fn pause(&self, _: DomId) -> Result<(), HypervisorError> {
        unreachable!("a claim never pauses")
    }

    fn unpause(&self, domid: DomId) -> Result<(), HypervisorError> {
        let mut domains = self.0.borrow_mut();
        let pauses = &mut domains.get_mut(&domid.get()).ok_or(HypervisorError::NoSuchDomain(domid))?.2;
        *pauses = pauses.map(|count| count - 1);
        Ok(())
    }

    fn destroy(&self, _: DomId) -> Result<(), HypervisorError> {
        unreachable!("a claim never destroys")
    }
}

fn template() -> QubeName {
    "default-dvm".parse().unwrap()
}

fn uuid(number: u16) -> Uuid {
    Uuid::from_random([u8::try_from(number).unwrap(); 16])
}

fn queue_of(root: &std::path::Path, numbers: &[u16]) -> Queue {
    let queue = Queue::create(root, &template(), Duration::from_secs(10)).unwrap();
    for &number in numbers {
        let entry = Entry {
            name: format!("disp{number}").parse().unwrap(),
            uuid: uuid(number),
            domid: DomId::try_from(u32::from(number)).unwrap(),
            template: template(),
            generation: Generation(0),
            created: 0,
            claimer: None,
        };
        let reservation = queue.reserve(&number.to_string(), 99).unwrap().unwrap();
        queue.note(&reservation, &entry).unwrap();
        assert!(queue.enqueue(&reservation).unwrap());
    }
    queue
}

#[test]
fn p3_a_stranger_is_never_woken_and_the_next_one_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let hypervisor = Counting::default();
    hypervisor.set(1, "disp1", uuid(99), Some(1)); // another qube has the number now
    hypervisor.set(2, "other", uuid(2), Some(1)); // another name
    hypervisor.set(3, "disp3", uuid(3), None); // dying
    hypervisor.set(4, "disp4", uuid(4), Some(0)); // awake already
    hypervisor.set(5, "disp5", uuid(5), Some(2)); // paused by somebody else too
    hypervisor.set(7, "disp7", uuid(7), Some(1)); // 6 does not exist
    let queue = queue_of(root.path(), &[1, 2, 3, 4, 5, 6, 7]);
    let prepared = RefCell::new(Vec::new());
    let prepare = |entry: &Entry| {
        prepared.borrow_mut().push(entry.name.to_string());
        Ok(())
    };
    let taken = wake::take_prepared(&queue, &hypervisor, &prepare).unwrap();
    assert_eq!(taken.disposable.unwrap().0.name().as_str(), "disp7");
    // No stranger is asked for anything in its place; that somebody else paused one shows only after its wake-up.
    assert_eq!(prepared.into_inner(), ["disp5", "disp7"]);
    assert_eq!(taken.passed_over.len(), 6, "{:?}", taken.passed_over);
    for (number, pauses) in [(1, Some(1)), (2, Some(1)), (3, None), (4, Some(0)), (7, Some(0))] {
        assert_eq!(hypervisor.pauses(number), pauses, "disp{number}");
    }
    assert_eq!(queue.count(Place::Ready).unwrap(), 0);
    assert_eq!(queue.count(Place::Done).unwrap(), 7, "all seven, the last one by its drop");
}

#[test]
fn p11_an_empty_queue_gives_nothing() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue_of(root.path(), &[]);
    assert!(wake::take(&queue, &Counting::default()).unwrap().disposable.is_none());
}

#[test]
fn p3_what_cannot_be_prepared_is_never_woken() {
    let root = tempfile::tempdir().unwrap();
    let hypervisor = Counting::default();
    hypervisor.set(1, "disp1", uuid(1), Some(1));
    hypervisor.set(2, "disp2", uuid(2), Some(1));
    let queue = queue_of(root.path(), &[1, 2]);
    let prepare = |entry: &Entry| {
        assert_eq!(hypervisor.pauses(entry.domid.get()), Some(1), "before the wake-up");
        if entry.name.as_str() == "disp1" { Err("qubesd refused its tags".into()) } else { Ok(()) }
    };
    let taken = wake::take_prepared(&queue, &hypervisor, &prepare).unwrap();
    assert_eq!(taken.disposable.unwrap().0.name().as_str(), "disp2");
    assert_eq!(hypervisor.pauses(1), Some(1));
}
