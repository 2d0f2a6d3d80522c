//! The way into a program (os::program), tried with one of ours.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// An agent that waits for its daemon, started with its standard streams closed.
struct Waiting(std::process::Child);

impl Waiting {
    fn start(directory: &std::path::Path) -> Self {
        let agent = Command::new("/bin/sh")
            .args(["-c", "exec \"$0\" <&- >&- 2>&-", env!("CARGO_BIN_EXE_qrexec-agent")])
            .env("VCHAN_SOCKET_DIR", directory)
            .env("VCHAN_DOMAIN", "7")
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while fs::read_dir(directory).unwrap().next().is_none() {
            assert!(Instant::now() < until, "no vchan was made");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self(agent)
    }

    fn proc(&self, file: &str) -> std::path::PathBuf {
        format!("/proc/{}/{file}", self.0.id()).into()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn p10_closed_standard_streams_are_no_numbers_for_other_files() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Waiting::start(directory.path());
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(agent.proc(stream)).unwrap().to_str(), Some("/dev/null"), "{stream}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_signal() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Waiting::start(directory.path());
    let status = fs::read_to_string(agent.proc("status")).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_ne!(ignored & 1 << (nix::libc::SIGPIPE - 1), 0, "{ignored:x}");
}
