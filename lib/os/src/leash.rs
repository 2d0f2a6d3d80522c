//! A child that does not outlive whoever started it.
#![allow(unsafe_code)]

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the kernel kill the child when the thread that starts it ends, however it ends (prctl(2), `PR_SET_PDEATHSIG`). So
/// that thread has to wait for it.
pub fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let hold = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // Whoever died before that call is not told of any more.
        if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: between fork and exec the closure makes two system calls; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(hold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ProcessId;
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    #[test]
    fn p5_the_child_dies_with_the_thread_that_started_it() {
        let (sender, receiver) = mpsc::channel();
        let starter = std::thread::spawn(move || {
            let mut command = Command::new("sleep");
            end_with_parent(command.arg("1000"));
            let child = command.spawn().unwrap();
            let process = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
            assert!(process.is_alive());
            sender.send((process, child)).unwrap();
        });
        let (process, mut child) = receiver.recv().unwrap();
        starter.join().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while process.is_alive() {
            assert!(Instant::now() < until, "it lives on");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.wait().unwrap();
    }
}
