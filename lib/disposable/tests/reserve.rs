//! A call that finds none ready and reserves one that is starting (M2), on a real directory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{entry, queue};
use disposable::queue::{ClaimOrReserved, Outcome, Place, Queue, Reservation, Reserved, Standing};
use names::Generation;
use os::process::ProcessId;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

fn begin(queue: &Queue, starter: ProcessId, now: u64) -> Reservation {
    queue.reserve(&Reservation::label(starter, now), 99).unwrap().unwrap()
}

fn reserve(queue: &Queue) -> Option<Reserved<'_>> {
    match queue.claim_or_reserve(ProcessId::own()).unwrap() {
        ClaimOrReserved::Reserved(reserved) => Some(reserved),
        ClaimOrReserved::Claim(claim) => {
            assert!(claim.claimed.is_none(), "nothing is ready");
            None
        }
    }
}

/// Sure to be dead: no process has this start time.
fn dead() -> ProcessId {
    ProcessId { start: ProcessId::own().start + 1, ..ProcessId::own() }
}

#[test]
fn m2_r78_the_oldest_starting_one_is_reserved_and_only_once() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    let old = begin(&queue, ProcessId::own(), 9);
    let young = begin(&queue, ProcessId::own(), 10);
    let (first, second) = (reserve(&queue).unwrap(), reserve(&queue).unwrap());
    assert_eq!([first.label(), second.label()], [&old.label, &young.label]);
    assert!(reserve(&queue).is_none());
    assert_eq!(queue.standing(&old).unwrap(), Standing::Reserved(ProcessId::own()));
    // R79: it counts no more for the maximum.
    assert_eq!(queue.count(Place::Starting).unwrap(), 0);
}

#[test]
fn m2_it_is_handed_over_running_before_or_after_it_has_a_name() {
    for named_before in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let queue = queue(root.path());
        let reservation = begin(&queue, ProcessId::own(), 1);
        if named_before {
            assert_eq!(queue.note(&reservation, &entry(7)).unwrap(), Standing::Waiting);
        }
        let reserved = reserve(&queue).unwrap();
        assert!(!queue.enqueue(&reservation).unwrap(), "a reserved one never becomes ready");
        assert_eq!(queue.note(&reservation, &entry(7)).unwrap(), Standing::Reserved(ProcessId::own()));
        let starter = {
            let root = root.path().to_owned();
            std::thread::spawn(move || {
                let queue = common::queue(&root);
                queue.hand_over(&reservation, &entry(7)).unwrap()
            })
        };
        let Outcome::Awake(mut claimed) = reserved.wait(LONG).unwrap() else { panic!("it was handed over") };
        assert!(matches!(starter.join().unwrap(), Standing::Reserved(_)));
        assert_eq!(claimed.entry().name.as_str(), "disp7");
        claimed.used();
        assert_eq!(queue.list(Place::Used).unwrap()[0].file, "disp7");
        claimed.done();
        assert_eq!(queue.list(Place::Done).unwrap()[0].file, "disp7");
        assert_eq!(queue.count(Place::Claimed).unwrap(), 0);
    }
}

#[test]
fn m3_a_start_that_fails_lets_the_waiting_call_go_at_once() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    let reservation = begin(&queue, ProcessId::own(), 1);
    let reserved = reserve(&queue).unwrap();
    let starter = {
        let root = root.path().to_owned();
        std::thread::spawn(move || common::queue(&root).abandon(&reservation).unwrap())
    };
    let begun = std::time::Instant::now();
    assert!(matches!(reserved.wait(LONG).unwrap(), Outcome::Failed(_)));
    assert!(begun.elapsed() < LONG);
    starter.join().unwrap();
}

#[test]
fn r82_the_wait_is_bounded_and_the_laggard_is_destroyed() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    let reservation = begin(&queue, ProcessId::own(), 1);
    let reserved = reserve(&queue).unwrap();
    assert!(matches!(reserved.wait(Duration::from_millis(20)).unwrap(), Outcome::Failed(_)));
    assert_eq!(queue.note(&reservation, &entry(7)).unwrap(), Standing::Gone);
    assert_eq!(queue.count(Place::Done).unwrap(), 1);
}

#[test]
fn p11_a_start_whose_keeper_is_dead_is_not_reserved_and_not_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    begin(&queue, dead(), 1);
    assert!(reserve(&queue).is_none());
    let mut keeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let starter = ProcessId::of(i32::try_from(keeper.id()).unwrap()).unwrap();
    begin(&queue, starter, 2);
    let reserved = reserve(&queue).unwrap();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    assert!(matches!(reserved.wait(LONG).unwrap(), Outcome::Failed(reason) if reason.contains("died")));
}

#[test]
fn p3_one_that_became_stale_while_it_started_is_not_handed_out() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    let reservation = begin(&queue, ProcessId::own(), 1);
    let reserved = reserve(&queue).unwrap();
    assert_eq!(queue.bump_generation().unwrap(), Generation(1));
    queue.hand_over(&reservation, &entry(7)).unwrap();
    assert!(matches!(reserved.wait(LONG).unwrap(), Outcome::Failed(_)));
    assert_eq!(queue.list(Place::Done).unwrap()[0].file, "disp7");
}

#[test]
fn p2_a_dropped_reservation_goes_to_done() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    let reservation = begin(&queue, ProcessId::own(), 1);
    queue.note(&reservation, &entry(7)).unwrap();
    drop(reserve(&queue).unwrap());
    assert_eq!(queue.count(Place::Done).unwrap(), 1);
    assert_eq!(queue.standing(&reservation).unwrap(), Standing::Gone);
}

#[test]
fn a_ready_one_is_taken_before_a_starting_one() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    begin(&queue, ProcessId::own(), 1);
    common::fill(&queue, 5..6);
    let got = queue.claim_or_reserve(ProcessId::own()).unwrap();
    assert!(matches!(got, ClaimOrReserved::Claim(claim) if claim.claimed.is_some()));
}
