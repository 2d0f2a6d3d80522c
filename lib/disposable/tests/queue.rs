//! The queue on a real directory, with real contention.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{fill, queue, template};
use disposable::entry::Entry;
use disposable::queue::{KeeperLock, LockError, Place, Queue};
use names::Generation;
use os::process::ProcessId;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

fn claim_name(queue: &Queue) -> Option<String> {
    let claim = queue.claim(ProcessId::own()).unwrap();
    claim.claimed.map(|claimed| claimed.name().to_string())
}

#[test]
fn first_in_first_out_over_many_rounds() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    fill(&queue, 0..3);
    assert_eq!(claim_name(&queue).unwrap(), "disp0");
    fill(&queue, 3..5);
    let rest: Vec<String> = std::iter::from_fn(|| claim_name(&queue)).collect();
    assert_eq!(rest, ["disp1", "disp2", "disp3", "disp4"]);
    assert_eq!(claim_name(&queue), None);
}

#[test]
fn p1_many_claimers_each_get_a_different_one_and_none_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let all = queue(root.path());
    const COUNT: u32 = 400;
    fill(&all, 0..COUNT);
    let claimers: Vec<_> = (0..8)
        .map(|_| {
            let root = root.path().to_owned();
            std::thread::spawn(move || {
                let queue = queue(&root);
                std::iter::from_fn(|| claim_name(&queue)).collect::<Vec<_>>()
            })
        })
        .collect();
    let names: Vec<String> = claimers.into_iter().flat_map(|claimer| claimer.join().unwrap()).collect();
    assert_eq!(names.len(), COUNT as usize);
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), COUNT as usize);
}

#[test]
fn p1_a_claimed_one_has_its_claimer_whenever_it_is_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    let own = ProcessId::own();
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            for round in 0..500 {
                let wanted = queue.want(own, round).unwrap();
                fill(&queue, 0..1);
                queue.claim(own).unwrap().claimed.unwrap().done();
                wanted.forget();
            }
        });
        let mut seen = 0;
        while !calls.is_finished() {
            for listed in queue.list(Place::Claimed).unwrap() {
                // The keeper destroys what nobody has.
                assert_eq!(listed.claimer, Some(own), "{listed:?}");
                seen += 1;
            }
        }
        assert!(seen > 0);
    });
}

#[test]
fn p2_a_dropped_claim_goes_to_done_and_never_back() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    fill(&queue, 0..1);
    drop(queue.claim(ProcessId::own()).unwrap());
    assert_eq!(queue.count(Place::Ready).unwrap(), 0);
    let done = queue.list(Place::Done).unwrap();
    assert_eq!(done[0].entry.as_ref().unwrap().claimer, Some(ProcessId::own()));
    assert_eq!(claim_name(&queue), None);
}

#[test]
fn p2_an_entry_with_a_claimer_line_is_never_handed_out() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    fill(&queue, 0..2);
    let first = root.path().join("default-dvm/ready/000000000000");
    let touched = fs::read_to_string(&first).unwrap() + &Entry::claimer_line(ProcessId { pid: 1, start: 1 });
    fs::write(&first, touched).unwrap();
    let claim = queue.claim(ProcessId::own()).unwrap();
    assert_eq!(claim.claimed.as_ref().unwrap().name().as_str(), "disp1");
    assert_eq!(claim.discarded[0].name, "disp0");
}

#[test]
fn p3_a_stale_generation_is_never_handed_out() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    fill(&queue, 0..2);
    assert_eq!(queue.bump_generation().unwrap(), Generation(1));
    let claim = queue.claim(ProcessId::own()).unwrap();
    assert!(claim.claimed.is_none());
    assert_eq!(claim.discarded.len(), 2);
    assert_eq!(queue.count(Place::Done).unwrap(), 2);
}

#[test]
fn p4_room_is_counted_over_starting_and_ready() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    assert!(queue.reserve("a", 2).unwrap().is_some());
    assert!(queue.reserve("b", 2).unwrap().is_some());
    assert!(queue.reserve("c", 2).unwrap().is_none());
}

#[test]
fn p4_concurrent_reservations_never_exceed_the_maximum() {
    let root = tempfile::tempdir().unwrap();
    drop(queue(root.path()));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let root = root.path().to_owned();
            std::thread::spawn(move || {
                let queue = queue(&root);
                (0..20).filter(|n| queue.reserve(&format!("{thread}-{n}"), 5).unwrap().is_some()).count()
            })
        })
        .collect();
    assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>(), 5);
}

#[test]
fn p5_counters_lost_or_wrong_lose_no_entry() {
    let root = tempfile::tempdir().unwrap();
    let queue = queue(root.path());
    fill(&queue, 0..3);
    for wrong in ["", "garbage", "00000000000000000009 00000000000000000001\n"] {
        fs::write(root.path().join("default-dvm/lock"), wrong).unwrap();
        queue.recount().unwrap();
    }
    fill(&queue, 3..4);
    let names: Vec<String> = std::iter::from_fn(|| claim_name(&queue)).collect();
    assert_eq!(names, ["disp0", "disp1", "disp2", "disp3"]);
}

#[test]
fn p11_a_stuck_holder_delays_a_claim_by_the_bound_only() {
    let root = tempfile::tempdir().unwrap();
    fill(&queue(root.path()), 0..1);
    let file = fs::File::options().write(true).open(root.path().join("default-dvm/lock")).unwrap();
    let held = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let bounded = Queue::open(root.path(), &template(), Duration::from_millis(20)).unwrap().unwrap();
    assert!(matches!(bounded.claim(ProcessId::own()), Err(LockError::Timeout(_))));
    drop(held);
    // The waiter that gave up must not keep the lock.
    assert_eq!(claim_name(&queue(root.path())).unwrap(), "disp0");
}

#[test]
fn p11_whether_a_keeper_lives() {
    let root = tempfile::tempdir().unwrap();
    assert!(!KeeperLock::is_held(root.path()));
    let lock = KeeperLock::take(root.path()).unwrap().unwrap();
    assert!(KeeperLock::is_held(root.path()));
    assert!(KeeperLock::take(root.path()).unwrap().is_none());
    drop(lock);
    assert!(!KeeperLock::is_held(root.path()));
}

#[test]
fn p11_a_keeper_that_is_stuck_is_not_trusted() {
    let root = tempfile::tempdir().unwrap();
    let lock = KeeperLock::take(root.path()).unwrap().unwrap();
    let last_look = |ago: u64| {
        let time = os::monotonic_ns().saturating_sub(ago * 1_000_000_000);
        fs::write(root.path().join("keeper"), format!("{time:020}\n")).unwrap();
    };
    for (ago, trusted) in [(0, true), (60, true), (90, false)] {
        // A machine that has just booted has no such past.
        if os::monotonic_ns() > 90_000_000_000 {
            last_look(ago);
            assert_eq!(KeeperLock::is_held(root.path()), trusted, "{ago} s ago");
        }
    }
    lock.beat().unwrap();
    assert!(KeeperLock::is_held(root.path()), "it has looked again");
    fs::write(root.path().join("keeper"), "").unwrap();
    assert!(!KeeperLock::is_held(root.path()));
}

#[test]
fn a_template_without_a_queue_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    assert!(Queue::open(root.path(), &template(), Duration::from_millis(1)).unwrap().is_none());
    assert_eq!(Queue::templates(&root.path().join("nosuch")).unwrap(), []);
}

#[test]
fn links_in_the_place_of_a_queue_or_its_files_are_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let strange = queue(elsewhere.path());
    fill(&strange, 0..1);
    let directory = root.path().join(template().as_str());
    symlink(elsewhere.path().join(template().as_str()), &directory).unwrap();
    assert!(Queue::open(root.path(), &template(), Duration::from_millis(10)).is_err());
    fs::remove_file(&directory).unwrap();
    let own = queue(root.path());
    fill(&own, 0..1);
    fs::rename(directory.join("lock"), directory.join("true-lock")).unwrap();
    symlink("true-lock", directory.join("lock")).unwrap();
    assert!(own.claim(ProcessId::own()).is_err());
    assert_eq!(strange.count(Place::Ready).unwrap(), 1);
}
