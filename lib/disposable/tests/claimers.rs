//! Promise P1 with real processes: 16 of them claim 10,000 times from a queue that is being refilled. Each disposable is
//! handed out once, none is lost.
//!
//! No test harness: the program runs itself as the claimers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::exit)]

mod common;

use common::{entry, queue};
use disposable::queue::{Place, Queue};
use os::process::ProcessId;
use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CLAIMERS: usize = 16;
const CLAIMS: u32 = 10_000;
const DEPTH: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, marker, root] = &arguments[..] {
        if marker == "--as-claimer" {
            claim_until_ended(Path::new(root));
            std::process::exit(0);
        }
    }
    if arguments.iter().any(|argument| argument == "--list") {
        println!("p1_16_processes_10000_claims: test");
        return;
    }
    run();
}

/// Prints the name of each disposable it gets.
fn claim_until_ended(root: &Path) {
    let queue = queue(root);
    let mut names = String::new();
    loop {
        // Read before the claim: when nothing comes after the end, nothing will.
        let ended = root.join("end").exists();
        match queue.claim(ProcessId::own()).unwrap().claimed {
            Some(claimed) => {
                names += claimed.name().as_str();
                names.push('\n');
                claimed.done();
            }
            None if ended => break,
            None => std::thread::yield_now(),
        }
    }
    print!("{names}");
}

fn run() {
    let shm = Path::new("/dev/shm");
    let memory = if tempfile::tempfile_in(shm).is_ok() { shm.to_owned() } else { std::env::temp_dir() };
    let root = tempfile::tempdir_in(memory).unwrap();
    let queue = queue(root.path());
    let claimers: Vec<_> = (0..CLAIMERS)
        .map(|_| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg("--as-claimer").arg(root.path()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let begun = Instant::now();
    refill(&queue);
    std::fs::write(root.path().join("end"), "").unwrap();
    let mut names = Vec::new();
    for claimer in claimers {
        let output = claimer.wait_with_output().unwrap();
        assert!(output.status.success());
        names.extend(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned));
    }
    let took = begun.elapsed();
    let distinct: HashSet<&String> = names.iter().collect();
    println!(
        "p1_16_processes_10000_claims: {CLAIMERS} processes, {} claims, {} different disposables of {CLAIMS}, {} ms",
        names.len(),
        distinct.len(),
        took.as_millis()
    );
    assert_eq!(names.len(), CLAIMS as usize, "each handed out once");
    assert_eq!(distinct.len(), CLAIMS as usize, "none lost");
    assert_eq!(queue.count(Place::Done).unwrap(), CLAIMS as usize);
    for place in [Place::Starting, Place::Ready, Place::Claimed, Place::Used] {
        assert_eq!(queue.count(place).unwrap(), 0, "{}", place.as_str());
    }
}

/// Never more than [`DEPTH`] wait; room is reserved as the keeper does it.
fn refill(queue: &Queue) {
    let give_up = Instant::now() + Duration::from_secs(300);
    let mut number = 0;
    while number < CLAIMS {
        assert!(Instant::now() < give_up, "the claimers do not claim");
        let Some(reservation) = queue.reserve(&format!("r{number}"), DEPTH).unwrap() else {
            std::thread::yield_now();
            continue;
        };
        queue.note(&reservation, &entry(number)).unwrap();
        assert!(queue.enqueue(&reservation).unwrap());
        number += 1;
    }
}
