//! What the hand-over must not do, counted by ptrace(2).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{EXECUTABLE, Site, qube};
use disposable::queue::{KeeperLock, Place, Queue};
use fixture::eventually;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `bench-count`, to which the program with its argv\[0\] is still to be said.
fn counter(result: &Path) -> Command {
    let mut command = Command::new(EXECUTABLE);
    command.arg0("bench-count").arg(result).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// System calls, and those that wait for a disk; `None` where ptrace is not allowed.
fn counts(result: &Path) -> Option<(usize, usize)> {
    let Ok(text) = fs::read_to_string(result) else {
        eprintln!("SKIPPED: this machine does not allow ptrace: nothing was counted");
        return None;
    };
    let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap());
    Some((numbers.next().unwrap(), numbers.next().unwrap()))
}

#[test]
fn a_program_that_waits_for_a_disk_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let result = directory.path().join("result");
    let file = format!("of={}", directory.path().join("file").display());
    let words = ["if=/dev/zero", "count=1", "status=none", "conv=fsync", &file];
    let in_child = format!("dd {}; true", words.join(" "));
    for (program, words) in [("/bin/dd", &words[..]), ("/bin/sh", &["-c", &in_child][..])] {
        counter(&result).arg(program).arg(program).args(words).status().unwrap();
        let Some((all, syncs)) = counts(&result) else { return };
        assert!(all > 10 && syncs == 1, "{program}: {all} {syncs}");
    }
}

#[test]
fn p6_a_hand_over_waits_for_no_disk() {
    let site = Site::new();
    site.admin().feature_set(&qube("default-dvm"), "preload-dispvm-max", "1").unwrap();
    let template = "default-dvm".parse().unwrap();
    eventually("one waits", || {
        let queue = Queue::open(&site.layout.queue(), &template, Duration::from_secs(10)).unwrap();
        KeeperLock::is_held(&site.layout.queue())
            && queue.is_some_and(|queue| queue.count(Place::Ready).unwrap() == 1)
    });
    let result = site.layout.state().join("result");
    let output = counter(&result)
        .args([EXECUTABLE, "qubes.OpenURL"])
        .env_clear()
        .env("QUBES_DISPVM_CONFIG", site.layout.dispvm_config())
        .env("QREXEC_REMOTE_DOMAIN", "dom0")
        .env("QREXEC_SERVICE_ARGUMENT", "")
        .env("QREXEC_REQUESTED_TARGET_TYPE", "keyword")
        .env("QREXEC_REQUESTED_TARGET_KEYWORD", "dispvm")
        .output()
        .unwrap();
    let Some((all, syncs)) = counts(&result) else { return };
    // Without a URL the service itself has nothing to do; it was reached by way of the queue.
    assert_ne!(output.status.code(), Some(125), "{output:?}");
    site.step("claimed");
    assert!(all > 50 && syncs == 0, "{all} {syncs}");
}
