//! Promise P5 with real processes: claim and settle, reserve, make and enqueue, discard, refresh, recovery each run as a
//! process and are killed before every one of their system calls in turn. After the next recovery nothing is leaked and
//! nothing doubtful is in the queue. Prints how many points were tried.
//!
//! No test harness: the program runs itself as those processes, and threads of a harness would be in the way of ptrace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr, clippy::exit)]

#[path = "../common/mod.rs"]
mod common;
mod operations;
mod site;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use site::Site;
use std::process::{Child, Command};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, marker, operation, directory] = &arguments[..] {
        if marker == "--as-process" {
            ptrace::traceme().unwrap();
            nix::sys::signal::raise(Signal::SIGSTOP).unwrap();
            operations::run(operation, &Site::at(directory.into()));
            std::process::exit(0);
        }
    }
    // A harness asked for its tests by name answers with none, but for its own.
    if arguments.iter().any(|argument| argument == "--list") {
        println!("p5_killed_at_every_system_call: test");
        return;
    }
    let mut all = 0;
    for operation in operations::ALL {
        let Some(points) = kill_everywhere(operation) else {
            eprintln!("SKIPPED: this machine does not allow ptrace: nothing was tried");
            return;
        };
        println!("{operation}: killed before each of {points} system calls");
        all += points;
    }
    println!("p5_killed_at_every_system_call: {all} points tried, all of them ok");
}

/// Runs the operation again and again, killed one system call later each time, until it ends by itself.
fn kill_everywhere(operation: &str) -> Option<usize> {
    for point in 1.. {
        let directory = tempfile::tempdir().unwrap();
        let site = Site::at(directory.path().to_owned());
        site.prepare(operation);
        let killed = kill_at(operation, &site, point)?;
        operations::run("recover", &site);
        site.check(operation, point);
        if !killed {
            return Some(point - 1);
        }
    }
    None
}

/// Whether it was killed; `None` where ptrace is not allowed.
fn kill_at(operation: &str, site: &Site, point: usize) -> Option<bool> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(["--as-process", operation]).arg(&site.directory).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    if !matches!(waitpid(pid, None).unwrap(), WaitStatus::Stopped(_, Signal::SIGSTOP)) {
        child.wait().ok()?;
        return None;
    }
    ptrace::setoptions(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL).unwrap();
    // Each system call stops twice, before and after.
    for stop in 1.. {
        ptrace::syscall(pid, None).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceSyscall(_) if stop == 2 * point - 1 => return Some(kill(&mut child)),
            WaitStatus::PtraceSyscall(_) => {}
            WaitStatus::Exited(_, 0) => {
                drop(child.wait());
                return Some(false);
            }
            other => panic!("{operation} killed at {point}: {other:?}"),
        }
    }
    None
}

fn kill(child: &mut Child) -> bool {
    child.kill().unwrap();
    child.wait().unwrap();
    true
}
