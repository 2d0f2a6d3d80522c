//! A long-lived child of the host: told apart from others by pid and start time, ended with the host.

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use os::process::ProcessId;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A child that runs until it is ended.
///
/// Its standard input is a pipe whose other end only the host holds: when the host dies, however it dies, the child reads
/// end of file and ends itself ([`crate::lifeline`]).
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    child: Child,
    lifeline: Option<ChildStdin>,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts it. `record` is a file that says which process it is, for the recovery by a later host. `on_end` is called
    /// once, from a thread of its own, when the child has ended.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(
        mut command: Command,
        record: PathBuf,
        on_end: impl FnOnce(ExitStatus) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        // A group of its own: Ctrl-C on the terminal is for the host, which then ends all in order.
        command.stdin(Stdio::piped()).env(crate::lifeline::VARIABLE, "1").process_group(0);
        let mut child = command.spawn()?;
        let raw = i32::try_from(child.id()).unwrap_or(i32::MAX);
        let lifeline = child.stdin.take();
        let process = Arc::new(Self {
            pid: Pid::from_raw(raw),
            state: Mutex::new(State { child, lifeline, status: None }),
            ended: Condvar::new(),
        });
        if let Some(id) = ProcessId::of(raw) {
            if let Err(error) = fs::write(&record, id.to_string()) {
                log::warn!("{}: {error}", record.display());
            }
        }
        let watched = process.clone();
        let watch = move || {
            let status = watched.reap();
            if let Err(error) = fs::remove_file(&record) {
                log::debug!("{}: {error}", record.display());
            }
            on_end(status);
        };
        if let Err(error) = thread::Builder::new().name("process".into()).spawn(watch) {
            process.signal(Signal::SIGKILL);
            return Err(error);
        }
        Ok(process)
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().status.is_some()
    }

    /// Asks it to end, and after `grace` makes it. Returns when it has ended.
    pub(crate) fn end(&self, grace: Duration) {
        self.lock().lifeline = None;
        self.signal(Signal::SIGTERM);
        if !self.wait(grace) {
            self.signal(Signal::SIGKILL);
            if !self.wait(grace) {
                log::error!("process {} does not die", self.pid);
            }
        }
    }

    fn wait(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        while state.status.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The pid is the child's own for as long as it is not reaped, and it is reaped under the same lock.
    fn signal(&self, signal: Signal) {
        let state = self.lock();
        if state.status.is_none() {
            if let Err(error) = kill(self.pid, signal) {
                log::warn!("{signal} to process {}: {error}", self.pid);
            }
        }
    }

    fn reap(&self) -> ExitStatus {
        // Without reaping it, so that its pid stays its own until the lock is held.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(self.pid), flags) == Err(nix::Error::EINTR) {}
        let mut state = self.lock();
        let status = state.child.wait().unwrap_or_default();
        state.status = Some(status);
        state.lifeline = None;
        self.ended.notify_all();
        status
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
