//! Every interleaving of two calls and a keeper, with every crash of each: the protocol of the queue as a model with one
//! system call a step. Searches all states; prints how many. The same search must find trouble once the lock is gone, so
//! that it is known to look.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod model;

use model::{KEEPER, State};
use std::collections::HashSet;

/// All states; the first trouble found.
fn search(locked: bool) -> (usize, Option<(&'static str, State)>) {
    let mut known = HashSet::from([State::first()]);
    let mut open = vec![State::first()];
    while let Some(state) = open.pop() {
        if let Some(trouble) = state.trouble() {
            return (known.len(), Some((trouble, state)));
        }
        for process in 0..=KEEPER {
            for next in [state.step(process, locked), state.kill(process)].into_iter().flatten() {
                if known.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    (known.len(), None)
}

#[test]
fn p1_p2_p4_p5_in_every_interleaving_with_every_crash() {
    let (states, trouble) = search(true);
    println!("{states} states of two calls and a keeper, each killed anywhere");
    assert_eq!(trouble, None);
    assert!(states > 5_000);
}

#[test]
fn the_search_finds_what_goes_wrong_without_the_lock() {
    let (_, trouble) = search(false);
    assert!(trouble.is_some());
}
