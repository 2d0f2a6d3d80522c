//! Signals as input to a poll loop.
//!
//! A signal mask is inherited by every program that is started (the standard library leaves it alone), and a program
//! with SIGCHLD or SIGTERM blocked behaves oddly. So nothing is blocked here: handlers write to a socket, and handlers
//! are reset by exec.
#![allow(unsafe_code)]

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::{SignalOnly, WithRawSiginfo};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Some signals of this process; readable when one has come.
#[derive(Debug)]
pub struct Signals(SignalDelivery<UnixStream, SignalOnly>);

impl Signals {
    /// Takes these signals from now on, in place of their default action.
    ///
    /// # Errors
    /// No descriptors are left, or one of the signals cannot be taken.
    pub fn take(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        SignalDelivery::with_pipe(read, write, SignalOnly, signals).map(Self)
    }

    /// The signals that have come since the last call, each once. Never waits.
    pub fn pending(&mut self) -> Vec<i32> {
        self.0.pending().collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_read().as_fd()
    }
}

/// One signal of this process, and who sends it; readable when it has come.
#[derive(Debug)]
pub struct Senders {
    signal: Signal,
    delivery: SignalDelivery<UnixStream, WithRawSiginfo>,
}

impl Senders {
    /// Takes this signal from now on, in place of its default action.
    ///
    /// # Errors
    /// No descriptors are left, or the signal cannot be taken.
    pub fn take(signal: Signal) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, WithRawSiginfo, [signal as i32])?;
        Ok(Self { signal, delivery })
    }

    /// The pids of those who have sent it since the last call; 0 for who is in no pid namespace of ours. Never waits.
    ///
    /// The kernel makes one of signals that are sent at the same time (signal(7)): then one sender stands for all.
    pub fn pending(&mut self) -> Vec<i32> {
        let pid = |info: libc::siginfo_t| {
            // SAFETY: the signal was sent by kill(2) or the like; of one that was not, this field is some number or 0,
            // which is read all the same: every field of the union is plain integers.
            unsafe { info.si_pid() }
        };
        self.delivery.pending().map(pid).collect()
    }

    /// Whether one was sent that [`Self::pending`] may not know of yet: the kernel still has it, or another thread of ours is in
    /// the midst of taking it. What the kernel has is taken by the calling thread first.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        // A change of its mask makes the kernel look what the thread may take, and its handler has then run.
        let mask = SigSet::from(self.signal);
        if mask.thread_swap_mask(SigmaskHow::SIG_BLOCK).is_ok_and(|before| !before.contains(self.signal)) {
            let _: nix::Result<()> = mask.thread_unblock();
        }
        let bit = |fields: &str, name: &str| {
            let value = fields.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let value = value.and_then(|value| u64::from_str_radix(value, 16).ok()).unwrap_or(0);
            value >> (self.signal as i32 - 1) & 1 == 1
        };
        // A thread that runs a handler has its signal blocked (sigaction(2)); one that starts a program or a thread, or ends, has
        // all blocked for a moment.
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let fields =
            threads.map(|thread| crate::read_small(thread.path().join("status")).unwrap_or_default());
        let mut fields = fields.filter(|fields| !fields.is_empty());
        fields.any(|fields| bit(&fields, "ShdPnd:") || bit(&fields, "SigBlk:"))
    }
}

impl AsFd for Senders {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, poll};
    use std::process::Command;

    #[test]
    fn a_signal_is_seen_and_no_child_inherits_a_mask() {
        let mut signals = Signals::take(&[libc::SIGUSR2]).unwrap();
        assert!(signals.pending().is_empty());
        nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 10_000u16), Ok(1));
        assert_eq!(signals.pending(), [libc::SIGUSR2]);
        let status = Command::new("grep").args(["SigBlk", "/proc/self/status"]).output().unwrap();
        assert!(
            String::from_utf8_lossy(&status.stdout).trim_end().ends_with("0000000000000000"),
            "{status:?}"
        );
    }

    #[test]
    fn who_sends_a_signal_is_known() {
        let mut senders = Senders::take(Signal::SIGUSR1).unwrap();
        // Other tests start threads.
        let is_quiet = |senders: &Senders| {
            (0..1000).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                !senders.is_under_way()
            })
        };
        assert!(senders.pending().is_empty() && is_quiet(&senders));
        let script = format!("kill -USR1 {}", std::process::id());
        let mut child = Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut fds = [PollFd::new(senders.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 10_000u16), Ok(1));
        assert_eq!(senders.pending(), [pid]);
        assert!(senders.pending().is_empty() && is_quiet(&senders));
        assert!(child.wait().unwrap().success());
        // As in a handler.
        let (blocked, is_blocked) = std::sync::mpsc::channel();
        let (end, may_end) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            SigSet::from(Signal::SIGUSR1).thread_block().unwrap();
            blocked.send(()).unwrap();
            may_end.recv().unwrap();
        });
        is_blocked.recv().unwrap();
        assert!((0..100).all(|_| senders.is_under_way()), "another thread may be about to tell");
        end.send(()).unwrap();
        other.join().unwrap();
        assert!(is_quiet(&senders));
    }
}
