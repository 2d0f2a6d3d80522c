//! System calls of a program, counted by ptrace(2): what the hand-over must not do, it is not trusted not to do.

use super::figure::Figure;
use super::site::Site;
use crate::cli::Failure;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// How many system calls one hand-over makes, from the exec of the service executable to its end, and how many of those
/// wait for a disk. None does (promise P6).
pub(super) fn hand_over(site: &Site) -> Result<Vec<Figure>, Failure> {
    let (mut all, mut syncs) = (Vec::new(), Vec::new());
    let result = site.layout().state().join("system-calls");
    for _ in 0..HAND_OVERS {
        site.wait_until_settled()?;
        let counted = || -> io::Result<(f64, f64)> {
            let status = site
                .counted_service(&result, "qubes.OpenInVM", "dispvm")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()?;
            let text = std::fs::read_to_string(&result)?;
            let mut numbers = text.split_whitespace().map(str::parse::<f64>);
            match (status.success(), numbers.next(), numbers.next()) {
                (true, Some(Ok(all)), Some(Ok(syncs))) => Ok((all, syncs)),
                _ => Err(io::Error::other(format!("the traced service ended with {status}"))),
            }
        };
        let (calls, waits) =
            counted().map_err(|error| Failure::trouble("count", "the system calls of a hand-over", error))?;
        all.push(calls);
        syncs.push(waits);
    }
    Ok(vec![
        Figure::of("handover_syscalls", "calls", None, all),
        Figure::of("handover_fsyncs", "calls", None, syncs),
    ])
}

/// `bench-count RESULT PROGRAM ARG0 [ARGUMENT…]`: runs a program with the standard streams and the environment of this
/// one. Writes `CALLS SYNCS` to RESULT: how many system calls it made, with all its threads and children, and how many
/// of them wait for a disk. Its exit code is the program's.
pub(super) fn count(words: &[OsString]) -> io::Result<u8> {
    let Some((result, words)) = words.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let child = Command::new(std::env::current_exe()?).arg0("bench-traced").args(words).spawn()?;
    let main = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    if !matches!(waitpid(main, None)?, WaitStatus::Stopped(_, Signal::SIGSTOP)) {
        return Err(io::Error::other("ptrace is not allowed here"));
    }
    let follow = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(main, options | follow)?;
    ptrace::syscall(main, None)?;
    let counted = Counts::follow(main)?;
    std::fs::write(result, format!("{} {}\n", counted.all, counted.syncs))?;
    Ok(counted.exit)
}

/// `bench-traced PROGRAM ARG0 [ARGUMENT…]`: lets itself be traced, then becomes that program.
pub(super) fn traced(words: &[OsString]) -> io::Result<u8> {
    let [program, name, arguments @ ..] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    ptrace::traceme()?;
    raise(Signal::SIGSTOP)?;
    Err(Command::new(program).arg0(name).args(arguments).exec())
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    syncs: usize,
    exit: u8,
    /// Whether the program itself runs, no longer what starts it.
    begun: bool,
    /// Threads within a system call: each stops twice.
    inside: HashSet<Pid>,
}

impl Counts {
    /// Counts until the last of them has ended.
    fn follow(main: Pid) -> io::Result<Self> {
        let mut counts = Self { exit: 1, ..Self::default() };
        loop {
            let go_on = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return Ok(counts),
                Err(error) => return Err(error.into()),
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    counts.stopped(thread)?;
                    (thread, None)
                }
                Ok(WaitStatus::PtraceEvent(thread, _, event)) => {
                    counts.begun |= event == libc::PTRACE_EVENT_EXEC;
                    (thread, None)
                }
                // A new thread begins with this one; others are its own.
                Ok(WaitStatus::Stopped(thread, Signal::SIGSTOP)) => (thread, None),
                Ok(WaitStatus::Stopped(thread, signal)) => (thread, Some(signal)),
                Ok(WaitStatus::Exited(thread, code)) => {
                    counts.inside.remove(&thread);
                    if thread == main {
                        counts.exit = u8::try_from(code).unwrap_or(255);
                    }
                    continue;
                }
                Ok(_) => continue,
            };
            match ptrace::syscall(go_on.0, go_on.1) {
                // Killed meanwhile: its end is told next.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn stopped(&mut self, thread: Pid) -> io::Result<()> {
        if !self.inside.insert(thread) {
            self.inside.remove(&thread);
        } else if self.begun {
            let text = std::fs::read_to_string(format!("/proc/{thread}/syscall"))?;
            let number = text.split(' ').next().and_then(|word| word.parse::<i64>().ok());
            self.all += 1;
            self.syncs += usize::from(number.is_some_and(|number| WAIT_FOR_DISK.contains(&number)));
        }
        Ok(())
    }
}

const WAIT_FOR_DISK: [i64; 6] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_msync,
];
const HAND_OVERS: usize = 10;
