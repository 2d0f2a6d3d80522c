//! The first process of a qube.

use super::failure::Failure;
use super::layout::{self, Layout};
use super::protocol::{Answer, receive_go, receive_spec};
use super::spec::{Isolation, Pausing, Spec};
use super::supervisor::HostUser;
use super::{loopback, root, tree};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdout, setgroups, sethostname, setsid};
use os::process::ProcessId;
use os::signals::Signals;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The id of the qube's user and group inside.
pub(super) const USER_ID: u32 = 1000;

/// The main function of a qube's first process: receives the description from the supervisor, builds what the qube
/// sees, gives up all rights, starts the command, buries orphans, and ends with the command, returning its exit code.
/// It must run in a process with one thread.
#[must_use]
pub fn init_main(args: &[OsString]) -> u8 {
    let isolation =
        args.first().and_then(|arg| Isolation::from_text(arg.to_str()?)).unwrap_or(Isolation::Processes);
    let host = if args.get(1).is_some_and(|arg| arg == "other") { HostUser::Other } else { HostUser::Root };
    match start(isolation, host) {
        Ok(qube) => qube.run(),
        Err(failure) => {
            let _ = Answer::Failed(failure).send(&mut io::stdout());
            125
        }
    }
}

struct Qube {
    isolation: Isolation,
    lifeline: File,
    signals: Signals,
    command: Pid,
}

fn start(isolation: Isolation, host: HostUser) -> Result<Qube, Failure> {
    let mut lifeline = standard_input()?;
    let (_, spec) = receive_spec(&mut lifeline)?;
    let _ = setsid();
    umask(Mode::from_bits_truncate(0o022));
    let signals = take_child_signals()?;
    let console = open_console(&spec)?;
    let layout = Layout::new(&spec, isolation);
    if isolation == Isolation::Processes {
        prctl::set_child_subreaper(true)
            .map_err(|error| Failure::broken("cannot become", "a subreaper", error))?;
        make_directories(&spec, &layout)?;
    } else {
        enter_namespaces(&spec, host)?;
    }
    prctl::set_no_new_privs().map_err(|error| Failure::refused("cannot give up", "new privileges", error))?;
    // Nothing of the qube may run before it can be paused and killed as a whole.
    receive_go(&mut lifeline)?;
    let command = start_command(&spec, &layout, console)?;
    let _ = Answer::Ready { init: None, pausing: Pausing::Auto }.send(&mut io::stdout());
    let _ = File::options().write(true).open("/dev/null").map(dup2_stdout);
    Ok(Qube { isolation, lifeline, signals, command })
}

/// The order matters: what needs rights over the machine's files first, the rights go last.
fn enter_namespaces(spec: &Spec, host: HostUser) -> Result<(), Failure> {
    let refused = |object: &str, error: Errno| Failure::refused("cannot set up", object, error);
    // A death before this call shows as the end of the lifeline instead.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| refused("the death signal", error))?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWNET;
    unshare(namespaces).map_err(|error| refused("mount, ipc, uts and net namespaces", error))?;
    sethostname(spec.name.as_str()).map_err(|error| refused("the host name", error))?;
    // Without a loopback interface programs that want one fail, and no other.
    let _ = loopback::up();
    root::enter(spec, host)?;
    // Only root may, and only root need.
    let _ = setgroups(&[]);
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| refused("the inner user namespace", error))?;
    map_user(USER_ID, uid.as_raw(), gid.as_raw())?;
    // The change of user namespace may have cleared it.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| refused("the death signal", error))
}

/// Makes us `inside` in the user namespace just entered, which knows nobody else. The kernel lets everyone map himself,
/// once nobody can leave groups any more (user_namespaces(7)).
pub(super) fn map_user(inside: u32, uid: u32, gid: u32) -> Result<(), Failure> {
    for (file, map) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/gid_map", format!("{inside} {gid} 1")),
        ("/proc/self/uid_map", format!("{inside} {uid} 1")),
    ] {
        fs::write(file, map).map_err(|error| Failure::refused("cannot write", file, error))?;
    }
    Ok(())
}

/// The places of a qube without a root of its own.
fn make_directories(spec: &Spec, layout: &Layout) -> Result<(), Failure> {
    let make = |inside: &str| {
        let path = layout.place(inside);
        fs::create_dir_all(&path).map_err(|error| Failure::broken("cannot create", &path, error))
    };
    let home = format!("/home/{}", spec.user);
    let directories = [
        &home,
        "/tmp",
        "/var/tmp",
        layout::PROGRAM_DIRECTORY,
        layout::SERVICE_DIRECTORY,
        layout::CONFIG_DIRECTORY,
        layout::RUNTIME_DIRECTORY,
        "/run/qubes",
    ];
    directories.into_iter().try_for_each(make)?;
    write_programs(spec, layout, Path::new("/"), &spec.programs)
}

/// The names of programs, services and their configuration, for both kinds of qubes; `root` is put before each path.
pub(super) fn write_programs(
    spec: &Spec,
    layout: &Layout,
    root: &Path,
    executable: &Path,
) -> Result<(), Failure> {
    let place = |directory: &str, name: &str| {
        let path = layout.place(Path::new(directory).join(name));
        root.join(Path::new(&path).strip_prefix("/").unwrap_or(Path::new(&path)))
    };
    let link = |target: &Path, path: &Path| match symlink(target, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Failure::broken("cannot create", path, error))
        }
        _ => Ok(()),
    };
    for name in &spec.program_names {
        link(executable, &place(layout::PROGRAM_DIRECTORY, name))?;
    }
    for (name, program) in &spec.services {
        let program = layout.place(Path::new(layout::PROGRAM_DIRECTORY).join(program));
        link(Path::new(&program), &place(layout::SERVICE_DIRECTORY, name))?;
    }
    for (name, content) in &spec.rpc_config {
        let path = place(layout::CONFIG_DIRECTORY, name);
        fs::write(&path, content).map_err(|error| Failure::broken("cannot write", &path, error))?;
    }
    Ok(())
}

fn start_command(spec: &Spec, layout: &Layout, console: File) -> Result<Pid, Failure> {
    let [program, arguments @ ..] = spec.command.as_slice() else {
        return Err(Failure::broken("cannot start", "the command", "it is empty"));
    };
    let broken = |error: &dyn std::fmt::Display| Failure::broken("cannot start", program, error);
    let errors = console.try_clone().map_err(|error| broken(&error))?;
    let child = Command::new(layout.place(program))
        .args(arguments.iter().map(|argument| layout.place(argument)))
        .env_clear()
        .envs(layout.environment(spec))
        .current_dir(layout.home())
        .stdin(Stdio::null())
        .stdout(console)
        .stderr(errors)
        .spawn()
        .map_err(|error| broken(&error))?;
    i32::try_from(child.id()).map(Pid::from_raw).map_err(|error| broken(&error))
}

fn open_console(spec: &Spec) -> Result<File, Failure> {
    let path = spec.directory.join(layout::CONSOLE);
    File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| Failure::broken("cannot open", &path, error))
}

fn take_child_signals() -> Result<Signals, Failure> {
    Signals::take(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .map_err(|error| Failure::broken("cannot take", "signals", error))
}

impl Qube {
    /// Buries the dead until the command is among them or the supervisor is gone.
    fn run(mut self) -> u8 {
        let code = loop {
            if let Some(code) = self.bury() {
                break code;
            }
            let mut ends = [
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.lifeline.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ends, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break 125,
            }
            if ends[1].any().unwrap_or(true) {
                break 125;
            }
            self.signals.pending();
        };
        if self.isolation == Isolation::Processes {
            kill_all_below();
        }
        // With a pid namespace, the kernel kills the others when we return.
        code
    }

    fn bury(&self) -> Option<u8> {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, u8::try_from(code & 0xff).unwrap_or(125)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, killed_by(signal as i32)),
                Err(Errno::EINTR) => continue,
                _ => return None,
            };
            if pid == self.command {
                return Some(code);
            }
        }
    }
}

/// As subreaper we are the parent of every orphan, so that none can be left when we have no child any more.
fn kill_all_below() {
    let deadline = Instant::now() + Duration::from_secs(4);
    let own = ProcessId::own();
    loop {
        for child in tree::children(own) {
            tree::stop(child, Instant::now() + Duration::from_millis(50));
        }
        for process in tree::members(own).into_iter().filter(|process| *process != own) {
            if let Ok(Some(process)) = process.open() {
                let _ = process.signal(Signal::SIGKILL);
            }
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Err(Errno::ECHILD) => return,
                _ => {}
            }
        }
        if Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Standard input as a file without a buffer.
pub(super) fn standard_input() -> Result<File, Failure> {
    let input = io::stdin().as_fd().try_clone_to_owned();
    input.map(File::from).map_err(|error| Failure::broken("cannot use", "standard input", error))
}

/// The exit code of a child of ours, as a shell would tell it; 125 when it has not ended.
pub(super) fn exit_code_of(mut child: Child, ended: bool) -> u8 {
    if !ended {
        return 125;
    }
    match child.wait() {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(125),
            (None, signal) => killed_by(signal.unwrap_or(0)),
        },
        Err(_) => 125,
    }
}

fn killed_by(signal: i32) -> u8 {
    u8::try_from(128 + (signal & 0x7f)).unwrap_or(125)
}
