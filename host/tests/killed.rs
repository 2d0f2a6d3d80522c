//! A host that is killed leaves nothing that the next one does not clear away (promise P5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use admin::Client;
use common::{EXECUTABLE, LIMIT, descendants, qube};
use fixture::eventually;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qubes_host::{Host, Layout};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Killed at the latest when the test ends, whatever its end is.
struct Serve(Child);

impl Serve {
    fn kill(&mut self) {
        kill(pid(&self.0), Signal::SIGKILL).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A host in a process of its own.
fn serve(state: &Path) -> (Serve, Layout) {
    let child = Command::new(EXECUTABLE)
        .args(["serve", "--preload=1", "--state"])
        .arg(state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let layout = Layout::new(state);
    let admin = Client::new(layout.qubesd_socket()).with_limit(LIMIT);
    eventually("work and a disposable run", || {
        let list = admin.list().unwrap_or_default();
        let up = |start: &str| {
            list.iter().any(|line| {
                line.name.as_str().starts_with(start) && matches!(line.state.as_str(), "Running" | "Paused")
            })
        };
        up("work") && up("disp")
    });
    (Serve(child), layout)
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn p5_with_the_host_everything_ends_and_the_next_one_finds_nothing() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = directory.path().join("state");
    let (mut child, layout) = serve(&state);
    // Two qubes of three processes, two daemons, the keeper.
    let mut all = Vec::new();
    eventually("all its processes are there", || {
        all = descendants(pid(&child.0).as_raw());
        all.len() >= 9
    });
    child.kill();
    eventually("all its processes end by themselves", || all.iter().all(|process| !process.is_alive()));
    let (host, _, _story) = common::start(&state, |_| {});
    let list = Client::new(layout.qubesd_socket()).list().unwrap();
    assert!(list.iter().all(|line| !line.name.as_str().starts_with("disp")));
    assert!(list.iter().all(|line| line.name.is_dom0() || line.state.as_str() == "Halted"));
    let qubes = fs::read_dir(layout.qubes()).unwrap().flatten().map(|entry| entry.file_name());
    assert!(qubes.into_iter().all(|name| !name.to_string_lossy().contains("disp")));
    assert_eq!(fs::read_dir(layout.domains()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(layout.vchan()).unwrap().count(), 0);
    host.start_qube("work").unwrap();
    Client::new(layout.qubesd_socket()).kill(&qube("work")).unwrap();
    host.stop().unwrap();
}

#[test]
fn p5_what_cannot_end_by_itself_is_ended_by_the_next_host() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = directory.path().join("state");
    let (mut child, layout) = serve(&state);
    let all = descendants(pid(&child.0).as_raw());
    // Stopped ones cannot end by themselves: the next host must do it.
    let mut stopped = Vec::new();
    for entry in fs::read_dir(layout.processes()).unwrap().flatten() {
        let process: os::process::ProcessId = fs::read_to_string(entry.path()).unwrap().parse().unwrap();
        kill(Pid::from_raw(process.pid), Signal::SIGSTOP).unwrap();
        stopped.push(process);
    }
    assert!(stopped.len() >= 3, "keeper and two daemons");
    child.kill();
    let (host, _, _story) = common::start(&state, |_| {});
    assert!(stopped.iter().all(|process| !process.is_alive()));
    host.stop().unwrap();
    assert!(all.iter().all(|process| !process.is_alive()));
}

#[test]
fn p5_an_abandoned_directory_is_removed_and_a_living_one_is_not() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = directory.path().join("state");
    let (mut child, _) = serve(&state);
    let all = descendants(pid(&child.0).as_raw());
    Host::remove_abandoned(&state);
    assert!(state.join("run/qubesd.sock").exists(), "its host lives");
    child.kill();
    Host::remove_abandoned(&state);
    assert!(!state.exists());
    assert!(all.iter().all(|process| !process.is_alive()));
    let other = directory.path().join("other");
    fs::create_dir(&other).unwrap();
    Host::remove_abandoned(&other);
    assert!(other.exists(), "not a host's directory");
}

#[test]
fn a_keeper_that_dies_is_followed_by_another() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let (host, layout, _story) = common::start(&directory.path().join("state"), |_| {});
    let record = layout.processes().join("preload-dispvm");
    let keeper = || fs::read_to_string(&record).ok()?.parse::<os::process::ProcessId>().ok();
    eventually("a keeper runs", || keeper().is_some());
    let first = keeper().unwrap();
    kill(Pid::from_raw(first.pid), Signal::SIGKILL).unwrap();
    eventually("another keeper runs", || keeper().is_some_and(|next| next != first && next.is_alive()));
    host.stop().unwrap();
    assert!(keeper().is_none());
}
