//! The keeper as a real process: killed, told of changes, meddled with; and calls that come while it is starting one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use admin::{Client, PowerState, QubeClass};
use common::{Serve, code, kill, processes_with, text};
use disposable::queue::{Place, Queue};
use fixture::eventually;
use names::{QubeName, QubeRef};
use std::time::Duration;

fn template() -> QubeName {
    "default-dvm".parse().unwrap()
}

fn admin(serve: &Serve) -> Client {
    Client::new(serve.state.join("run/qubesd.sock"))
}

fn queue(serve: &Serve) -> Queue {
    let root = serve.state.join("run/dispvm");
    Queue::open(&root, &template(), Duration::from_secs(10)).unwrap().unwrap()
}

fn disposables(serve: &Serve) -> Vec<(QubeName, PowerState)> {
    let lines = admin(serve).list().unwrap();
    lines
        .into_iter()
        .filter(|line| line.class == QubeClass::DispVM)
        .map(|line| (line.name, line.state))
        .collect()
}

fn set_max(serve: &Serve, max: usize) {
    admin(serve).feature_set(&QubeRef::Name(template()), "preload-dispvm-max", &max.to_string()).unwrap();
}

fn keepers(serve: &Serve) -> Vec<u32> {
    let is_keeper = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text(line.split(|byte| *byte == 0).next().unwrap_or_default()).ends_with("preload-dispvm")
    };
    processes_with(&serve.state.to_string_lossy()).into_iter().filter(is_keeper).collect()
}

/// Exactly `max` wait, paused, and there is nothing else.
fn is_settled(serve: &Serve, max: usize) -> bool {
    let queue = queue(serve);
    let all = disposables(serve);
    let in_places = |place| queue.count(place).unwrap() == if place == Place::Ready { max } else { 0 };
    Place::ALL.into_iter().all(in_places)
        && all.len() == max
        && all.iter().all(|(_, state)| *state == PowerState::Paused)
}

#[test]
fn p5_a_keeper_killed_again_and_again_leaves_nothing_behind() {
    // A start takes milliseconds here and seconds on Xen.
    let (max, rounds, step) = if common::on_xen() { (1, 5, 1500) } else { (3, 8, 12) };
    let mut serve = Serve::start(&[&format!("--preload={max}")]);
    for round in 0u64..rounds {
        set_max(&serve, 0);
        set_max(&serve, max);
        // Each time a little later: while it discards, creates, starts, checks, pauses, enqueues.
        std::thread::sleep(Duration::from_millis(round * step));
        eventually("a keeper runs", || {
            let keepers = keepers(&serve);
            keepers.iter().for_each(|pid| kill(*pid, "KILL"));
            !keepers.is_empty()
        });
    }
    eventually("all wait and nothing else is left", || is_settled(&serve, max));
    assert!(serve.stop());
}

#[test]
fn m6_r34_a_maximum_that_changes_while_one_starts_leaves_none_too_many() {
    let serve = Serve::start(&["--preload=1"]);
    for _ in 0..5 {
        set_max(&serve, 4);
        set_max(&serve, 0);
    }
    eventually("none is left", || is_settled(&serve, 0));
    set_max(&serve, 2);
    eventually("two wait", || is_settled(&serve, 2));
}

#[test]
fn m2_r64_a_call_that_comes_while_one_starts_is_handed_that_one() {
    let serve = Serve::start(&["--preload=0", "--with", "sh -c 'sleep 0.2; sed -i s/a/b/ \"$1\"' sh"]);
    let used = serve.state.join("run/dispvm/default-dvm/used");
    eventually("a starting one was handed over", || {
        set_max(&serve, 0);
        eventually("none is left", || disposables(&serve).is_empty());
        serve.put("work", "f", b"a");
        let mut call = serve.exec("work", ["qvm-open-in-dvm", "f"]).spawn().unwrap();
        set_max(&serve, 1);
        let mut was_handed_over = false;
        eventually("the call ends", || {
            let files = std::fs::read_dir(&used).into_iter().flatten().flatten();
            let mut texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
            was_handed_over |= texts.any(|text| disposable::entry::is_awake(&text));
            call.try_wait().unwrap().is_some()
        });
        let output = call.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert_eq!(text(&serve.get("work", "f")), "b");
        was_handed_over
    });
}

#[test]
fn m21_one_that_somebody_else_woke_is_destroyed_and_replaced() {
    let serve = Serve::start(&["--preload=1"]);
    let before = disposables(&serve);
    admin(&serve).unpause(&QubeRef::Name(before[0].0.clone())).unwrap();
    eventually("another one waits", || is_settled(&serve, 1) && disposables(&serve)[0].0 != before[0].0);
}

#[test]
fn m14_r94_a_changed_property_of_the_template_makes_waiting_ones_stale() {
    let serve = Serve::start(&["--preload=1"]);
    let (before, generation) = (disposables(&serve), queue(&serve).generation().unwrap());
    admin(&serve).property_set(&QubeRef::Name(template()), "label", "purple").unwrap();
    eventually("the old one is gone", || !disposables(&serve).iter().any(|(name, _)| *name == before[0].0));
    assert!(queue(&serve).generation().unwrap() > generation);
}

#[test]
fn m12_m22_a_keeper_that_was_restarted_keeps_what_is_good() {
    let serve = Serve::start(&["--preload=2"]);
    let before = disposables(&serve);
    let old = keepers(&serve);
    old.iter().for_each(|pid| kill(*pid, "KILL"));
    eventually("a new keeper is trusted", || {
        let new = keepers(&serve);
        !new.is_empty()
            && new.iter().all(|pid| !old.contains(pid))
            && disposable::queue::KeeperLock::is_held(&serve.state.join("run/dispvm"))
    });
    eventually("all is settled", || is_settled(&serve, 2));
    assert_eq!(disposables(&serve), before);
}

#[test]
fn r20_is_preload_is_shown_while_one_waits() {
    let serve = Serve::start(&["--preload=1"]);
    eventually("the list names it", || {
        let waiting = disposables(&serve);
        let list = admin(&serve).feature_get(&QubeRef::Name(template()), "preload-dispvm").unwrap();
        waiting.len() == 1 && list.as_deref() == Some(waiting[0].0.as_str())
    });
    let (name, _) = disposables(&serve)[0].clone();
    assert!(admin(&serve).property_get(&QubeRef::Name(name), "is_preload").unwrap().is_true());
}

#[test]
fn r84_one_that_was_handed_over_is_marked_as_preloaded_no_more() {
    let serve = Serve::start(&["--preload=1", "--with", "sh -c 'sleep 1000'"]);
    let (name, _) = disposables(&serve)[0].clone();
    let qube = QubeRef::Name(name);
    let internal = || admin(&serve).feature_get(&qube, "internal").unwrap();
    assert_eq!(internal().as_deref(), Some("1"));
    serve.put("work", "f", b"a");
    let mut call = serve.exec("work", ["qvm-open-in-dvm", "f"]).spawn().unwrap();
    eventually("it is no longer internal", || internal().is_none());
    eventually("it is preloaded no more", || {
        !admin(&serve).property_get(&qube, "is_preload").unwrap().is_true()
    });
    call.kill().unwrap();
    call.wait().unwrap();
}

/// What Qubes OS's own launcher of GUI and audio daemons does with each event: nothing while `is_preload` is true; they start
/// once, when it is told that this has changed.
#[test]
fn r106_gui_and_audio_start_when_a_preloaded_one_is_used_and_not_before() {
    let serve = Serve::start(&["--preload=1", "--with", "sh -c 'sleep 1000'"]);
    set_max(&serve, 0);
    eventually("none waits", || is_settled(&serve, 0));
    let mut events = admin(&serve).events().unwrap();
    set_max(&serve, 1);
    eventually("one waits", || is_settled(&serve, 1));
    let (name, _) = disposables(&serve)[0].clone();
    let qube = QubeRef::Name(name.clone());
    serve.put("work", "f", b"a");
    let is_preload = || admin(&serve).property_get(&qube, "is_preload").unwrap().is_true();
    let mut next = || loop {
        let event = events.next().unwrap().unwrap();
        let is_news = matches!(event.name.as_str(), "domain-start" | "property-reset:is_preload");
        if is_news && event.subject == name.as_str() {
            return event.name;
        }
    };
    assert_eq!(next(), "property-reset:is_preload");
    assert_eq!(next(), "domain-start");
    assert!(is_preload(), "the daemons would start for one that waits");
    let mut call = serve.exec("work", ["qvm-open-in-dvm", "f"]).spawn().unwrap();
    assert_eq!(next(), "property-reset:is_preload");
    assert!(!is_preload(), "nobody is told again");
    eventually("it runs", || admin(&serve).qube(&qube).unwrap().state == PowerState::Running);
    call.kill().unwrap();
    call.wait().unwrap();
}
