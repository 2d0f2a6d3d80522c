//! The process that watches over a qube from outside, and outlives it just long enough to clear it away.

use super::cgroup::Cgroup;
use super::destroy::{MARK, clear_away, kill_all};
use super::failure::Failure;
use super::protocol::{Answer, receive_spec, send_go, send_spec};
use super::record::Record;
use super::registry::Registry;
use super::spec::{Isolation, Pausing, Spec};
use super::{INIT, init};
use crate::HypervisorError;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{dup2_stdout, getegid, geteuid};
use os::process::ProcessId;
use os::signals::Signals;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The main function of the supervisor: reads the description from standard input, starts the qube, answers on
/// standard output, then waits for the end of the qube or of its host. Returns the exit code of the qube's command, 125
/// when there was none. It must run in a process with one thread, with no descriptor but the standard three.
///
/// The arguments (the qube's name) are for people who look at a list of processes.
#[must_use]
pub fn supervisor_main(_args: &[OsString]) -> u8 {
    match supervise() {
        Ok(code) => code,
        Err(failure) => {
            // The host may be gone: then nobody wants to know.
            let _ = Answer::Failed(failure).send(&mut io::stdout());
            125
        }
    }
}

fn supervise() -> Result<u8, Failure> {
    let mut lifeline = init::standard_input()?;
    let (registry, spec) = receive_spec(&mut lifeline)?;
    let registry = Registry { directory: registry };
    let mut signals = take_signals()?;
    let host = if geteuid().is_root() { HostUser::Root } else { HostUser::Other };
    enter_pid_namespace(spec.isolation)?;

    let mut record = enter(&registry, &spec)?;
    let deadline = || Instant::now() + Duration::from_secs(5);
    let result = start(&registry, &spec, &mut record, host).and_then(|child| {
        let _ = Answer::Ready { init: record.init, pausing: pausing(&record) }.send(&mut io::stdout());
        let _ = File::options().write(true).open("/dev/null").map(dup2_stdout);
        wait_for_end(&lifeline, &child, &mut signals)?;
        Ok(child)
    });
    // From here on a failure can be told to nobody; a sweep finds what is left by the record.
    let killed = kill_all(spec.domid, &record, deadline());
    let code = result.map(|child| init::exit_code_of(child.process, killed.is_ok()));
    let _ = killed.and_then(|()| clear_away(&registry, spec.domid, &record, deadline()));
    code
}

/// Whether processes of the qube own what belongs to the machine's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostUser {
    Root,
    Other,
}

impl HostUser {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Other => "other",
        }
    }
}

struct Init {
    process: Child,
    handle: os::process::Handle,
}

/// A terminal's Ctrl-C is for the host, which then closes the lifeline in its own time; SIGTERM ends the qube.
fn take_signals() -> Result<Signals, Failure> {
    let _ = nix::unistd::setsid();
    Signals::take(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .map_err(|error| Failure::broken("cannot take", "signals", error))
}

/// Makes our next child the first process of a new pid namespace. The machine's root keeps its rights, with which init
/// can reach files of any owner; anyone else gets a user namespace in which he has them.
fn enter_pid_namespace(isolation: Isolation) -> Result<(), Failure> {
    let refused = |step: &str, error: &dyn std::fmt::Display| Failure::refused("cannot create", step, error);
    if isolation == Isolation::Processes {
        return nix::sys::prctl::set_child_subreaper(true).map_err(|error| refused("a subreaper", &error));
    }
    let (uid, gid) = (geteuid(), getegid());
    match unshare(CloneFlags::CLONE_NEWPID) {
        Ok(()) => return Ok(()),
        Err(Errno::EPERM) => {}
        Err(error) => return Err(refused("a pid namespace", &error)),
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
        .map_err(|error| refused("user and pid namespaces", &error))?;
    init::map_user(0, uid.as_raw(), gid.as_raw())
}

/// Writes the record before anything exists that it must name, and makes the control group.
fn enter(registry: &Registry, spec: &Spec) -> Result<Record, Failure> {
    let mut record = Record {
        name: spec.name.clone(),
        uuid: spec.uuid,
        isolation: spec.isolation,
        cgroup: None,
        supervisor: ProcessId::own(),
        init: None,
    };
    let candidates = match spec.pausing {
        Pausing::Signals => Vec::new(),
        pausing => {
            let ProcessId { pid, start } = record.supervisor;
            Cgroup::candidates(pausing, &format!("qube-{}-{pid}-{start}", spec.domid))
        }
    };
    registry.enter(spec.domid, &record).map_err(|error| match error {
        HypervisorError::AlreadyExists(_) => Failure::Exists,
        other => Failure::Broken(other.to_string()),
    })?;
    for cgroup in candidates {
        record.cgroup = Some(cgroup.clone());
        if registry.replace(spec.domid, &record).is_ok() && cgroup.create().is_ok() {
            return Ok(record);
        }
    }
    record.cgroup = None;
    let result = match spec.pausing {
        Pausing::Auto | Pausing::Signals => {
            registry.replace(spec.domid, &record).map_err(|error| Failure::Broken(error.to_string()))
        }
        wanted => Err(Failure::refused("cannot create", wanted.as_str(), "no such freezer is ours to use")),
    };
    if result.is_err() {
        let _ = registry.remove(spec.domid, spec.uuid, record.supervisor);
    }
    result.map(|()| record)
}

/// Starts init, enters it into the record and its control group, and lets it start the command only then. The move into
/// the group can take the kernel 10 ms, which init uses to build what the qube sees.
fn start(registry: &Registry, spec: &Spec, record: &mut Record, host: HostUser) -> Result<Init, Failure> {
    let broken = |step: &str, error: &dyn std::fmt::Display| Failure::broken(step, INIT, error);
    let enter = |record: &Record| {
        registry.replace(spec.domid, record).map_err(|error| Failure::Broken(error.to_string()))
    };
    let mut process = Command::new("/proc/self/exe")
        .arg0(INIT)
        .args([spec.isolation.as_str(), host.as_str()])
        .env_clear()
        .env(MARK, spec.uuid.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| broken("cannot start", &error))?;
    let pid = i32::try_from(process.id()).map_err(|error| broken("cannot number", &error))?;
    let init = ProcessId::of(pid).ok_or_else(|| broken("cannot watch", &"it is gone"))?;
    let handle = init
        .open()
        .map_err(|error| broken("cannot watch", &error))?
        .ok_or_else(|| broken("cannot watch", &"it is gone"))?;
    record.init = Some(init);
    enter(record)?;
    let (Some(down), Some(up)) = (process.stdin.as_mut(), process.stdout.as_mut()) else {
        return Err(broken("cannot talk to", &"it has no pipes"));
    };
    // Should sending fail, init is dead, and its answer, or that there is none, tells more.
    let _ = send_spec(down, Path::new("/").as_os_str(), spec);
    if let Some(cgroup) = record.cgroup.clone() {
        match (cgroup.add(pid), spec.pausing) {
            (Ok(()), _) => {}
            (Err(error), _) if error.raw_os_error() == Some(libc::ESRCH) => {}
            // It can be ours to make and yet not ours to move a process into, out of a group that is not ours.
            (Err(_), Pausing::Auto) if cgroup.remove().is_ok() => {
                record.cgroup = None;
                enter(record)?;
            }
            (Err(error), _) => return Err(Failure::refused("cannot put init into", cgroup.path(), error)),
        }
    }
    let _ = send_go(down);
    match Answer::receive(up) {
        Answer::Ready { .. } => Ok(Init { process, handle }),
        Answer::Failed(failure) => Err(failure),
    }
}

/// Returns when init has ended, the lifeline is cut or we are told to end.
fn wait_for_end(lifeline: &File, init: &Init, signals: &mut Signals) -> Result<(), Failure> {
    loop {
        let mut ends = [
            PollFd::new(lifeline.as_fd(), PollFlags::POLLIN),
            PollFd::new(init.handle.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ends, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(Failure::broken("cannot wait for", INIT, error)),
            Ok(_) => {}
        }
        let [lifeline, init, signal] = ends.map(|end| end.any().unwrap_or(false));
        if lifeline || init {
            return Ok(());
        }
        if signal && signals.pending().contains(&libc::SIGTERM) {
            return Ok(());
        }
    }
}

fn pausing(record: &Record) -> Pausing {
    record.cgroup.as_ref().map_or(Pausing::Signals, Cgroup::pausing)
}
