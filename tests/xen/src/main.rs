//! A real Xen with dom0 and guests, on any machine that has QEMU and apt: `cargo run -p xen-lab -- test`. See README.md.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod archive;
mod choice;
mod command;
mod error;
mod image;
mod inside;
mod kernel;
mod leftovers;
mod machine;
mod packages;
mod programs;
mod report;
mod run;
mod summary;
mod turn;

use choice::Choice;
use command::Order;
use error::LabError;
use image::Images;
use machine::Machine;
use packages::Packages;
use programs::Programs;
use report::Line;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use summary::Summary;

fn main() -> ExitCode {
    let (result, skip_ok) = match command::parse(std::env::args().skip(1)) {
        Ok(Order::Test { choice, skip_ok }) => (test(&choice), skip_ok),
        Ok(Order::List) => (list(), false),
        Ok(Order::Shell) => (shell(), false),
        Ok(Order::Inside { port }) => (inside::run(Path::new(&port)).map(|()| true), false),
        Err(error) => (Err(error), false),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error @ LabError::Missing { .. }) => {
            eprintln!("xen-lab: SKIPPED, nothing was tested on Xen: {error}");
            if skip_ok { ExitCode::SUCCESS } else { ExitCode::from(SKIPPED) }
        }
        Err(error) => {
            eprintln!("xen-lab: {error}");
            ExitCode::from(2)
        }
    }
}

/// Exit code where the machine lacks what the lab needs (automake's word for it).
const SKIPPED: u8 = 77;

/// Whether all tests passed.
fn test(choice: &Choice) -> Result<bool, LabError> {
    let cache = cache();
    let images = prepare(&cache, choice)?;
    turn::wait()?;
    let clock = Instant::now();
    let mut machine = Machine::test(&images, &cache)?;
    let mut summary = Summary::default();
    while !summary.is_done() {
        match machine.line(SILENCE) {
            Ok(line) => {
                let said = Line::parse(&line).and_then(|line| summary.take(line));
                said.iter().for_each(|text| println!("{:4} s  {text}", clock.elapsed().as_secs()));
            }
            Err(error) => {
                eprintln!("xen-lab: {error}\n-- console:\n{}", machine.console());
                break;
            }
        }
    }
    println!("{summary}; finished in {} s", clock.elapsed().as_secs());
    Ok(summary.good())
}

/// Longer than any test may take inside.
const SILENCE: Duration = Duration::from_secs(1500);

fn list() -> Result<bool, LabError> {
    Programs::build(&cache())?.names()?.iter().for_each(|name| println!("{name}"));
    Ok(true)
}

fn shell() -> Result<bool, LabError> {
    let images = prepare(&cache(), &Choice::default())?;
    turn::wait()?;
    eprintln!("xen-lab: dom0 is starting; `poweroff -f` or Ctrl-A X ends it");
    Machine::shell(&images).map(|()| true)
}

fn prepare(cache: &Path, choice: &Choice) -> Result<Images, LabError> {
    std::fs::create_dir_all(cache).map_err(LabError::file("create", cache))?;
    let phase = Instant::now();
    let packages = Packages::fetch(cache)?;
    eprintln!("xen-lab: packages ready after {} ms", phase.elapsed().as_millis());
    let phase = Instant::now();
    let programs = Programs::build(cache)?;
    eprintln!("xen-lab: programs built after {} ms", phase.elapsed().as_millis());
    let phase = Instant::now();
    let images = Images::build(cache, &packages, &programs, choice)?;
    eprintln!("xen-lab: images made after {} ms", phase.elapsed().as_millis());
    Ok(images)
}

/// Where packages and images are kept between runs.
fn cache() -> PathBuf {
    match std::env::var_os("XEN_LAB_CACHE") {
        Some(path) => std::path::absolute(&path).unwrap_or_else(|_| path.into()),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/xen-lab"),
    }
}
