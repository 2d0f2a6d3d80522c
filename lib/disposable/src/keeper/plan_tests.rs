//! Each rule of the plan by itself; `tests/random_actions.rs` has them all at once.

use super::*;
use crate::entry::tests::sample;
use crate::keeper::Delay;
use os::process::ProcessId;

const SECOND: u64 = 1_000_000_000;

fn view(max: usize, delay: Delay, seen: Vec<Seen>) -> View {
    View {
        template: "default-dvm".parse().unwrap(),
        limits: Limits { max, delay },
        generation: Generation(0),
        affordable: usize::MAX,
        seen,
    }
}

fn seen(place: Place, number: u16, owner_lives: bool, domain: Domain) -> Seen {
    let mut entry = sample(number);
    if place > Place::Ready {
        entry.claimer = Some(ProcessId { pid: 1, start: 1 });
    }
    let making = owner_lives && place == Place::Starting;
    Seen { place, file: format!("f{number}"), entry: Some(entry), making, owner_lives, domain }
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
    let two =
        vec![seen(Place::Starting, 1, true, Domain::Unchecked), seen(Place::Ready, 2, false, Domain::Paused)];
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
    let count =
        |plan: Plan| plan.actions.iter().filter(|action| matches!(action, Action::Destroy { .. })).count();
    assert_eq!(count(keeper.plan(&view(0, AT_ONCE, all.clone()), 8, 1)), 4);
    assert_eq!(count(keeper.plan(&view(0, AT_ONCE, all.clone()), 8, 2)), 0);
    keeper.not_destroyed(&"default-dvm".parse().unwrap(), Place::Done, "f4", 3);
    let plan = keeper.plan(&view(0, AT_ONCE, all.clone()), 8, 3);
    assert!(plan.again_at.is_some(), "it is looked at again by itself");
    assert_eq!(count(plan), 0, "not at once: that would be a busy loop");
    assert_eq!(count(keeper.plan(&view(0, AT_ONCE, all), 8, 3 + 60 * SECOND)), 1);
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
fn p6_a_cold_start_is_a_use_when_it_is_handed_over() {
    let mut keeper = Keeper::default();
    let delay = Delay::After(Duration::from_secs(3));
    let mut cold = seen(Place::Claimed, 1, true, Domain::Unchecked);
    cold.entry.as_mut().unwrap().domid = names::DomId::DOM0;
    let wanted = Seen { entry: None, ..cold.clone() };
    let full = |cold: &Seen| vec![seen(Place::Ready, 2, false, Domain::Paused), cold.clone()];
    for being_made in [&wanted, &cold] {
        assert_eq!(starts(&keeper.plan(&view(1, delay, full(being_made)), 8, 10 * SECOND)), 0);
    }
    let used = Seen { place: Place::Used, ..cold };
    // The one that waited went to another call meanwhile, but the cold one has only just been handed over.
    assert_eq!(starts(&keeper.plan(&view(1, delay, vec![used.clone()]), 8, 20 * SECOND)), 0);
    assert_eq!(starts(&keeper.plan(&view(1, delay, vec![used]), 8, 23 * SECOND)), 1);
}

#[test]
fn r88_negative_delay_refills_only_when_empty() {
    let mut keeper = Keeper::default();
    let delay = Delay::WhenEmpty(Duration::from_secs(1));
    let full =
        vec![seen(Place::Ready, 1, false, Domain::Paused), seen(Place::Ready, 2, false, Domain::Paused)];
    assert_eq!(starts(&keeper.plan(&view(2, delay, full), 8, SECOND)), 0);
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
    let fail = |keeper: &mut Keeper| keeper.failed(&template, Failure::Start, 0);
    assert_eq!(fail(&mut keeper), Some(Duration::from_secs(2)));
    assert_eq!(fail(&mut keeper), Some(Duration::from_secs(4)));
    assert_eq!(starts(&keeper.plan(&view(1, AT_ONCE, vec![]), 8, SECOND)), 0);
    for _ in 0..20 {
        assert!(fail(&mut keeper).unwrap() <= Duration::from_secs(300));
    }
    keeper.started(&template);
    assert_eq!(fail(&mut keeper), Some(Duration::from_secs(2)));
}

#[test]
fn m9_what_fails_its_check_is_not_retried_until_something_changes() {
    let mut keeper = Keeper::default();
    let template: QubeName = "default-dvm".parse().unwrap();
    assert!(keeper.failed(&template, Failure::Check, 0).is_some());
    assert!(keeper.failed(&template, Failure::Check, 0).is_some());
    assert_eq!(keeper.failed(&template, Failure::Check, 0), None);
    assert_eq!(starts(&keeper.plan(&view(1, AT_ONCE, vec![]), 8, 100_000 * SECOND)), 0);
    keeper.changed(&template, Duration::ZERO, 100_001 * SECOND);
    assert_eq!(starts(&keeper.plan(&view(1, AT_ONCE, vec![]), 8, 100_002 * SECOND)), 1);
}

#[test]
fn r56_no_more_than_the_memory_holds_and_said_once() {
    let mut keeper = Keeper::default();
    let poor = View { affordable: 1, ..view(3, AT_ONCE, vec![]) };
    assert_eq!(keeper.plan(&poor, 8, 1).actions, [Action::SayShort(2), Action::Start]);
    assert_eq!(keeper.plan(&poor, 8, 2).actions, [Action::Start]);
}

#[test]
fn r96_m6_above_the_maximum_the_newest_go_starting_ones_first() {
    let mut keeper = Keeper::default();
    let all = vec![
        seen(Place::Starting, 3, true, Domain::Unchecked),
        seen(Place::Starting, 4, true, Domain::Unchecked),
        seen(Place::Ready, 1, false, Domain::Paused),
        seen(Place::Ready, 2, false, Domain::Paused),
    ];
    let discarded = |max| -> Vec<String> {
        let plan = Keeper::default().plan(&view(max, AT_ONCE, all.clone()), 8, 1);
        plan.actions
            .into_iter()
            .map(|action| match action {
                Action::Discard { file, .. } => file,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(discarded(3), ["f4"]);
    assert_eq!(discarded(1), ["f2", "f3", "f4"]);
    assert_eq!(discarded(0), ["f1", "f2", "f3", "f4"]);
    assert_eq!(starts(&keeper.plan(&view(4, AT_ONCE, all), 8, 1)), 0);
}

#[test]
fn r89_a_queue_that_had_begun_to_fill_is_filled_though_the_delay_is_negative() {
    let mut keeper = Keeper::default();
    let delay = Delay::WhenEmpty(Duration::ZERO);
    assert_eq!(starts(&keeper.plan(&view(2, delay, vec![]), 1, SECOND)), 1);
    let one = vec![seen(Place::Ready, 1, false, Domain::Paused)];
    assert_eq!(starts(&keeper.plan(&view(2, delay, one.clone()), 1, 2 * SECOND)), 1);
    let two = vec![one[0].clone(), seen(Place::Ready, 2, false, Domain::Paused)];
    assert_eq!(starts(&keeper.plan(&view(2, delay, two), 1, 3 * SECOND)), 0);
    assert_eq!(starts(&keeper.plan(&view(2, delay, one.clone()), 1, 4 * SECOND)), 0);
    // R34: a higher maximum is a reason of its own.
    assert_eq!(starts(&keeper.plan(&view(3, delay, one), 1, 5 * SECOND)), 1);
}

#[test]
fn p5_a_reserved_one_whose_call_died_is_first_taken_from_whoever_makes_it() {
    let mut keeper = Keeper::default();
    let unnamed = Seen { entry: None, making: true, ..seen(Place::Claimed, 1, false, Domain::Unchecked) };
    let plan = keeper.plan(&view(0, AT_ONCE, vec![unnamed.clone()]), 8, 1);
    assert!(matches!(&plan.actions[..], [Action::Discard { place: Place::Claimed, .. }]), "{plan:?}");
    let moved = Seen { place: Place::Done, ..unnamed };
    assert_eq!(keeper.plan(&view(0, AT_ONCE, vec![moved.clone()]), 8, 2).actions, []);
    let ended = Seen { making: false, ..moved };
    assert!(matches!(
        keeper.plan(&view(0, AT_ONCE, vec![ended]), 8, 3).actions[..],
        [Action::Destroy { .. }]
    ));
}
