//! vchan between dom0 and a guest: the rings, events and names are Xen's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod guest;

use guest::{Guest, eventually, xenstore_of, xl};
use names::DomId;
use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};
use vchan::{Config, Server, Vchan};

const PEER: &str = env!("CARGO_BIN_EXE_vchan-peer");
const PATIENCE: Option<Duration> = Some(Duration::from_secs(120));

fn domid(guest: &Guest) -> DomId {
    guest.domid().parse().unwrap()
}

/// Bytes without a short period.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at * 31 + at / 251) % 256).unwrap()).collect()
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn bytes_go_both_ways_and_nothing_is_left_in_xenstore() {
    let guest = Guest::running("echo", &format!("{PEER} echo 513"), &[PEER]);
    // The server is not there yet: the guest is only starting.
    let vchan = Vchan::connect(&Config::from_env(), domid(&guest), 513, PATIENCE).unwrap();
    let begun = Instant::now();
    (&vchan).write_all(b"x").unwrap();
    (&vchan).read_exact(&mut [0]).unwrap();
    println!("figure: vchan round trip: {} us emulated", begun.elapsed().as_micros());
    let sent = pattern(2 << 20);
    let writer = vchan.try_clone().unwrap();
    let sending = sent.clone();
    let thread = std::thread::spawn(move || (&writer).write_all(&sending).unwrap());
    let mut back = vec![0; sent.len()];
    (&vchan).read_exact(&mut back).unwrap();
    thread.join().unwrap();
    assert!(back == sent, "the bytes changed on the way");
    let id = guest.domid();
    let names = || xenstore_of(&id).into_iter().filter(|path| path.contains("/vchan/")).collect::<Vec<_>>();
    eventually("the names are gone", || names().is_empty());
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn the_death_of_a_peer_ends_a_read() {
    let guest = Guest::running("dying", &format!("{PEER} echo 513"), &[PEER]);
    let vchan = Vchan::connect(&Config::from_env(), domid(&guest), 513, PATIENCE).unwrap();
    assert!(vchan.is_open());
    let reader = std::thread::spawn(move || {
        let result = (&vchan).read(&mut [0; 16]);
        (result, Instant::now())
    });
    xl(&["destroy", "dying"]);
    let destroyed = Instant::now();
    let (result, noticed) = reader.join().unwrap();
    assert!(!matches!(result, Ok(1..)), "{result:?}");
    println!(
        "figure: death noticed after {} ms emulated",
        noticed.saturating_duration_since(destroyed).as_millis()
    );
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn dom0_serves_and_the_last_bytes_of_a_peer_that_has_gone_arrive() {
    let guest = Guest::running("sender", &format!("{PEER} send 514 300000"), &[PEER]);
    let server = Server::bind(&Config::from_env(), domid(&guest), 514).unwrap();
    let vchan = server.accept(PATIENCE).unwrap();
    let mut all = Vec::new();
    (&vchan).read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 300_000);
    assert!(all.iter().all(|byte| *byte == b'x'));
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn nobody_to_connect_to_is_said_in_time() {
    let guest = Guest::create("silent");
    let limit = Some(Duration::from_secs(2));
    let error = Vchan::connect(&Config::from_env(), domid(&guest), 513, limit).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    // Nor by a server, which takes its names with it: whoever came later would join what is gone.
    let server = Server::bind(&Config::from_env(), domid(&guest), 514).unwrap();
    let names = format!("/local/domain/0/data/vchan/{}", domid(&guest));
    let has_names = || Command::new("xenstore-exists").arg(&names).status().unwrap().success();
    assert!(has_names());
    assert_eq!(server.accept(limit).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(!has_names(), "the names are left");
    let gone = domid(&guest);
    drop(guest);
    let error = Vchan::connect(&Config::from_env(), gone, 513, PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
