//! The socket transport, with real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use names::DomId;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::Duration;
use vchan::{Config, Server, Vchan};

const LONG: Option<Duration> = Some(Duration::from_secs(60));

fn domain(id: u32) -> DomId {
    DomId::try_from(id).unwrap()
}

fn config(dir: &Path, own: u32) -> Config {
    Config { dir: dir.to_owned(), own: domain(own) }
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_name_is_upstreams_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::bind(&config(dir.path(), 5), domain(0), 512).unwrap();
    assert_eq!(names_in(dir.path()), ["vchan.5.0.512.sock"]);
    drop(server);
    assert!(names_in(dir.path()).is_empty());
}

#[test]
fn the_name_goes_when_the_client_has_come() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::bind(&config(dir.path(), 5), domain(0), 512).unwrap();
    let _client = Vchan::connect(&config(dir.path(), 0), domain(5), 512, LONG).unwrap();
    let _server = server.accept(LONG).unwrap();
    assert!(names_in(dir.path()).is_empty());
}

#[test]
fn p5_a_name_that_a_killed_server_left_is_replaced_and_only_ones_own_removed() {
    let dir = tempfile::tempdir().unwrap();
    let config5 = config(dir.path(), 5);
    std::mem::forget(Server::bind(&config5, domain(0), 512).unwrap());
    drop(UnixListener::bind(dir.path().join(".vchan.5.0.512.sock.new")).unwrap());
    let old = Server::bind(&config5, domain(0), 512).unwrap();
    let new = Server::bind(&config5, domain(0), 512).unwrap();
    drop(old);
    assert_eq!(names_in(dir.path()), ["vchan.5.0.512.sock"]);
    let client = thread::spawn(move || Vchan::connect(&config(dir.path(), 0), domain(5), 512, LONG).unwrap());
    new.accept(LONG).unwrap();
    client.join().unwrap();
}

#[test]
fn a_client_waits_for_its_server() {
    for late in [0, 1, 30] {
        let dir = tempfile::tempdir().unwrap();
        let client_config = config(dir.path(), 0);
        let client = thread::spawn(move || {
            let mut vchan = Vchan::connect(&client_config, domain(5), 513, LONG).unwrap();
            vchan.write_all(b"hello").unwrap();
        });
        thread::sleep(Duration::from_millis(late));
        let server = Server::bind(&config(dir.path(), 5), domain(0), 513).unwrap();
        let mut got = Vec::new();
        server.accept(LONG).unwrap().read_to_end(&mut got).unwrap();
        assert_eq!(got, b"hello");
        client.join().unwrap();
    }
}

#[test]
fn a_client_waits_for_a_directory_and_for_a_server_in_upstreams_manner() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("later");
    let client_config = config(&dir, 0);
    let client = thread::spawn(move || Vchan::connect(&client_config, domain(5), 513, LONG).unwrap());
    thread::sleep(Duration::from_millis(20));
    std::fs::create_dir(&dir).unwrap();
    // A name that refuses, as after a crash or between bind and listen; then the server itself.
    let path = dir.join("vchan.5.0.513.sock");
    drop(UnixListener::bind(&path).unwrap());
    thread::sleep(Duration::from_millis(20));
    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    listener.accept().unwrap();
    client.join().unwrap();
}

#[test]
fn both_give_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let short = Some(Duration::from_millis(20));
    let error = Vchan::connect(&config(dir.path(), 0), domain(5), 513, short).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let server = Server::bind(&config(dir.path(), 5), domain(0), 513).unwrap();
    assert_eq!(server.accept(short).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(names_in(dir.path()).is_empty());
}

#[test]
fn long_directories_work() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&dir).unwrap();
    let server = Server::bind(&config(&dir, 5), domain(0), 512).unwrap();
    let _client = Vchan::connect(&config(&dir, 0), domain(5), 512, LONG).unwrap();
    server.accept(LONG).unwrap();
}

#[test]
fn what_was_sent_before_a_close_is_readable_after_it() {
    let (mut one, mut other) = Vchan::pair().unwrap();
    assert!(one.is_open() && other.is_open() && !other.is_data_ready());
    one.write_all(&[7; 150_000]).unwrap();
    drop(one);
    assert!(!other.is_open() && other.is_data_ready());
    let mut got = Vec::new();
    other.read_to_end(&mut got).unwrap();
    assert_eq!(got, [7; 150_000]);
    assert!(!other.is_open() && !other.is_data_ready());
    assert_eq!(other.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn clones_share_one_end_and_half_a_close_is_seen() {
    let (one, mut other) = Vchan::pair().unwrap();
    let clone = one.try_clone().unwrap();
    drop(one);
    assert!(other.is_open());
    clone.set_nonblocking(true).unwrap();
    assert_eq!((&clone).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    clone.finish_writing().unwrap();
    assert!(!other.is_open());
    other.write_all(b"still taken").unwrap();
}
