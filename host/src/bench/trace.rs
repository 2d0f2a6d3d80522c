//! System calls of a program, counted by ptrace(2): what the hand-over must not do, it is not trusted not to do.

use super::figure::Figure;
use super::site::Site;
use super::xen_calls::{Call, XenCalls};
use crate::cli::Failure;
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// How many system calls one hand-over makes, from the exec of the service executable to its end, and how many of those
/// wait for a disk: none does (promise P6). How often the kernel takes a CPU from it or gives it one. On Xen: hypercalls,
/// and requests to xenstore.
pub(super) fn hand_over(site: &Site, rounds: usize) -> Result<Vec<Figure>, Failure> {
    let mut columns: [Vec<f64>; 4] = Default::default();
    let mut switches = Vec::new();
    for _ in 0..rounds {
        for (value, column) in numbers(site, "bench-count")?.into_iter().zip(&mut columns) {
            column.push(value);
        }
        // Not in the same run: each stop for the count is a switch.
        switches.extend(numbers(site, "bench-switches")?);
    }
    let [all, syncs, privcmd, xenstore] = columns;
    let figure = |name, values| Figure::of(name, "", None, values);
    let mut figures = vec![
        figure("handover_syscalls", all),
        figure("handover_fsyncs", syncs),
        figure("handover_switches", switches),
    ];
    if site.is_on_xen() {
        figures.extend([figure("handover_privcmd", privcmd), figure("handover_xenstore", xenstore)]);
    }
    Ok(figures)
}

/// What one of the counting programs counts of one hand-over.
fn numbers(site: &Site, counter: &str) -> Result<Vec<f64>, Failure> {
    site.wait_until_settled()?;
    let result = site.layout().state().join("counted");
    let counted = || -> io::Result<Vec<f64>> {
        let status = site
            .counted_service(counter, &result, "qubes.OpenInVM", "dispvm")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        let text = std::fs::read_to_string(&result)?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if status.success() && !numbers.is_empty() {
            Ok(numbers)
        } else {
            Err(io::Error::other(format!("the counted service ended with {status}")))
        }
    };
    counted().map_err(|error| Failure::trouble("count", "what a hand-over does", error))
}

/// `bench-switches RESULT PROGRAM ARG0 [ARGUMENT…]`: runs a program as `bench-count` does. Writes to RESULT how often it
/// was switched to or from, with all its threads.
pub(super) fn switches(words: &[OsString]) -> io::Result<u8> {
    let [result, program, name, arguments @ ..] = words else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let status = Command::new(program).arg0(name).args(arguments).status()?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let all = usage.voluntary_context_switches() + usage.involuntary_context_switches();
    std::fs::write(result, format!("{all}\n"))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// `bench-count RESULT PROGRAM ARG0 [ARGUMENT…]`: runs a program with the standard streams and the environment of this
/// one. Writes `CALLS SYNCS PRIVCMD XENSTORE` to RESULT: how many system calls it made, with all its threads and children,
/// how many of them wait for a disk, how many are hypercalls, and how many requests it sent to xenstore. Its exit code is
/// the program's.
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
    std::fs::write(
        result,
        format!("{} {} {} {}\n", counted.all, counted.syncs, counted.xen.privcmd, counted.xen.xenstore),
    )?;
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
    xen: XenCalls,
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
            self.all += 1;
            if let Some(call) = Call::of(thread)? {
                self.syncs += usize::from(WAIT_FOR_DISK.contains(&call.number));
                self.xen.note(thread, call)?;
            }
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
