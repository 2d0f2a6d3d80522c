//! Random actions on the real queue and the real plan of the keeper, in a model of everything around them: processes,
//! domains, qubesd, the clock, reboots. After every action all invariants are checked. A failing seed is printed with its
//! actions, and `RANDOM_ACTIONS_SEED=N cargo test -p disposable --test random_actions` replays it exactly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

mod common;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use world::World;

const RUNS: u64 = 2000;
const ACTIONS: usize = 70;

fn run(seed: u64, told: &mut Vec<String>) -> world::Tally {
    let root = tempfile::Builder::new().prefix("queue").tempdir_in(memory()).unwrap();
    let queue = common::queue(root.path());
    let mut world = World::new(seed, root.path(), &queue, told);
    for _ in 0..ACTIONS {
        world.act();
        world.check();
    }
    world.end();
    world.tally
}

/// A directory in memory where there is one: the real queue lies on tmpfs too.
fn memory() -> std::path::PathBuf {
    let shm = std::path::Path::new("/dev/shm");
    let usable = tempfile::tempfile_in(shm).is_ok();
    if usable { shm.to_owned() } else { std::env::temp_dir() }
}

fn run_or_tell(seed: u64) -> world::Tally {
    let mut told = Vec::new();
    match catch_unwind(AssertUnwindSafe(|| run(seed, &mut told))) {
        Ok(tally) => tally,
        Err(_) => {
            for line in &told {
                eprintln!("  {line}");
            }
            panic!("seed {seed} fails after {} lines above; replay: RANDOM_ACTIONS_SEED={seed}", told.len());
        }
    }
}

#[test]
fn p1_p2_p3_p4_p5_hold_whatever_happens() {
    if let Some(seed) = std::env::var_os("RANDOM_ACTIONS_SEED") {
        let seed = seed.to_str().unwrap().parse().unwrap();
        println!("seed {seed}: {:?}", run_or_tell(seed));
        return;
    }
    let threads: Vec<_> = (0..2u64)
        .map(|half| {
            std::thread::spawn(move || {
                let mut sum = world::Tally::default();
                for seed in (0..RUNS).filter(|seed| seed % 2 == half) {
                    sum.add(&run_or_tell(seed));
                }
                sum
            })
        })
        .collect();
    let mut sum = world::Tally::default();
    for thread in threads {
        sum.add(&thread.join().unwrap());
    }
    println!("{RUNS} runs of {ACTIONS} actions: {sum:?}");
    // The test is worth nothing if these do not happen.
    for count in [sum.warm, sum.reserved, sum.cold, sum.discarded, sum.keeper_deaths, sum.reboots] {
        assert!(count > 100, "{sum:?}");
    }
}
