//! Gives mangled input to what reads the words of others; see README.md.
#![allow(clippy::print_stderr)]

mod mangle;
mod opened;
mod random;
mod targets;

use random::Random;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use targets::TARGETS;

/// What the command line says; `only` is one iteration by its number.
struct Settings {
    seconds: u64,
    seed: u64,
    only: Option<u64>,
}

fn main() -> ExitCode {
    let result = settings().and_then(|settings| {
        let corpus = corpus().map_err(|error| format!("cannot read the corpus: {error}"))?;
        run(&settings, &corpus);
        Ok(())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("fuzz: {text}");
            ExitCode::from(2)
        }
    }
}

fn settings() -> Result<Settings, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.subsec_nanos().into());
    let mut settings = Settings { seconds: 60, seed: now, only: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| format!("{word} needs a number"))?;
        match word.as_str() {
            "--seconds" => settings.seconds = number,
            "--seed" => settings.seed = number,
            "--only" => settings.only = Some(number),
            _ => return Err(format!("there is no option {word}: --seconds, --seed, --only")),
        }
    }
    Ok(settings)
}

/// One list of files for each target.
fn corpus() -> std::io::Result<Vec<Vec<Vec<u8>>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut corpus = Vec::new();
    for (name, _) in TARGETS {
        let mut paths: Vec<_> = fs::read_dir(root.join("corpus").join(name))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_, std::io::Error>>()?;
        if name == "policy" {
            paths.push(root.join("../policy.d/80-dispvm.policy"));
        }
        // An iteration must not depend on the order in which a directory is read.
        paths.sort();
        corpus.push(paths.iter().map(fs::read).collect::<Result<_, _>>()?);
    }
    Ok(corpus)
}

fn run(settings: &Settings, corpus: &[Vec<Vec<u8>>]) {
    let seed = settings.seed;
    eprintln!("fuzz: seed {seed}");
    let begun = Instant::now();
    let mut next_sign = Duration::from_secs(10);
    let numbers = settings.only.map_or(0..u64::MAX, |only| only..only.saturating_add(1));
    let mut done = 0u64;
    for iteration in numbers {
        if begun.elapsed() >= Duration::from_secs(settings.seconds) {
            break;
        }
        if begun.elapsed() >= next_sign {
            eprintln!("fuzz: {iteration} iterations");
            next_sign += Duration::from_secs(10);
        }
        CURRENT.with(|current| current.set(Some((seed, iteration))));
        if iteration == 0 || settings.only.is_some() {
            tell_on_panic();
        }
        for ((_, target), corpus) in TARGETS.iter().zip(corpus) {
            target(&mut Random::new(seed, iteration), corpus, settings.only.is_some());
        }
        done += 1;
    }
    let count = done.saturating_mul(u64::try_from(TARGETS.len()).unwrap_or(1));
    eprintln!("fuzz: nothing found: {count} inputs in {} s (seed {seed})", begun.elapsed().as_secs());
}

fn tell_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        if let Some((seed, iteration)) = CURRENT.with(std::cell::Cell::get) {
            eprintln!(
                "fuzz: to see it again: cargo run --release -p fuzz -- --seed {seed} --only {iteration}"
            );
        }
    }));
}

thread_local! {
    static CURRENT: std::cell::Cell<Option<(u64, u64)>> = const { std::cell::Cell::new(None) };
}
