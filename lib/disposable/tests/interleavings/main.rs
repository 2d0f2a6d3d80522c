//! Every interleaving of two calls and a keeper, with every crash of each: the protocol of the queue, claims
//! and reservations, as a model with one
//! system call a step. Searches all states; prints how many. The same search must find trouble once the lock is gone, so
//! that it is known to look.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod model;

use model::{KEEPER, State};
use std::collections::HashSet;

/// What a search came by.
#[derive(Debug, Default)]
struct Found {
    states: usize,
    /// States in which one that was reserved while it started has been handed over, and in which a call gave one up.
    handed_over: usize,
    given_up: usize,
    /// The first.
    trouble: Option<(&'static str, State)>,
}

/// All states, until there is trouble.
fn search(locked: bool) -> Found {
    let mut found = Found::default();
    let mut known = HashSet::from([State::first()]);
    let mut open = vec![State::first()];
    while let Some(state) = open.pop() {
        found.states += 1;
        found.handed_over += usize::from(state.has_handed_over());
        found.given_up += usize::from(state.gives_up());
        if let Some(trouble) = state.trouble() {
            found.trouble = Some((trouble, state));
            return found;
        }
        for process in 0..=KEEPER {
            for next in [state.step(process, locked), state.kill(process)].into_iter().flatten() {
                if known.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    found
}

#[test]
fn p1_p2_p4_p5_in_every_interleaving_with_every_crash() {
    let found = search(true);
    println!(
        "{} states of two calls and a keeper, each killed anywhere; {} after a hand-over of one that was reserved while it started",
        found.states, found.handed_over
    );
    assert_eq!(found.trouble, None);
    assert!(found.states > 20_000 && found.handed_over > 1000 && found.given_up > 100, "{found:?}");
}

#[test]
fn the_search_finds_what_goes_wrong_without_the_lock() {
    assert!(search(false).trouble.is_some());
}
