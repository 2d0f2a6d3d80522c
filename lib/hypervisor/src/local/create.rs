//! The host's side of a qube's start.

use super::failure::Failure;
use super::protocol::{Answer, send_spec};
use super::spec::{Isolation, Pausing, Spec};
use super::{Local, SUPERVISOR, destroy};
use crate::HypervisorError;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use os::process::ProcessId;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A qube takes milliseconds to start; a machine that needs longer than this hangs.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A qube that runs: until its command ends, until `supervisor.stdin` is dropped, or until this process ends, however
/// it ends.
#[derive(Debug)]
pub struct Created {
    /// What was reached: `Namespaces` or `Processes`.
    pub isolation: Isolation,
    /// Why namespaces were not possible, with [`Isolation::Auto`].
    pub refusal: Option<String>,
    /// How it is paused: `CgroupV2`, `CgroupV1` or `Signals`.
    pub pausing: Pausing,
    /// The qube's first process.
    pub init: ProcessId,
    /// Our child that watches over it.
    pub supervisor: Supervisor,
}

/// The child that watches over a qube. It ends when the qube has ended and is cleared away. Somebody must wait for it, as
/// for any child.
#[derive(Debug)]
pub struct Supervisor {
    /// The qube's lifeline: dropping it destroys the qube.
    pub stdin: Option<ChildStdin>,
    child: Child,
}

impl Supervisor {
    /// Waits for the end of the qube, and, unlike [`Child::wait`], leaves its lifeline alone. The exit code is that of the qube's
    /// command.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// The end of the qube, if it has ended.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Kills the supervisor itself. The qube dies too, but is left to [`Local::sweep`] or `destroy` to be cleared away.
    ///
    /// # Errors
    /// As [`Child::kill`].
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Local {
    /// Creates and starts a qube. `supervisor` is the executable that calls [`super::supervisor_main`] and
    /// [`super::init_main`] under the names [`SUPERVISOR`] and [`super::INIT`]; usually our own.
    ///
    /// # Errors
    /// [`HypervisorError::AlreadyExists`], [`HypervisorError::BadSpec`], [`HypervisorError::Unavailable`] when the
    /// machine refuses what the spec insists on, [`HypervisorError::Setup`] for all else. Nothing of the qube is left then but
    /// files in its directory.
    pub fn create(&self, spec: &Spec, supervisor: &Path) -> Result<Created, HypervisorError> {
        spec.check()?;
        let first = if spec.isolation == Isolation::Auto { Isolation::Namespaces } else { spec.isolation };
        match (self.try_create(spec, first, supervisor), spec.isolation) {
            (Ok(created), _) => Ok(created),
            (Err(HypervisorError::Unavailable(refusal)), Isolation::Auto) => {
                let created = self.try_create(spec, Isolation::Processes, supervisor)?;
                Ok(Created { refusal: Some(refusal), ..created })
            }
            (Err(error), _) => Err(error),
        }
    }

    fn try_create(
        &self,
        spec: &Spec,
        isolation: Isolation,
        program: &Path,
    ) -> Result<Created, HypervisorError> {
        let mut supervisor = Command::new(program)
            .arg0(SUPERVISOR)
            .arg(spec.name.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| HypervisorError::file("cannot start", program, error))?;
        let answer = self.converse(&mut supervisor, &Spec { isolation, ..spec.clone() });
        let failure = match answer {
            Answer::Ready { init: Some(init), pausing } => {
                let supervisor = Supervisor { stdin: supervisor.stdin.take(), child: supervisor };
                return Ok(Created { isolation, refusal: None, pausing, init, supervisor });
            }
            Answer::Ready { init: None, .. } => Failure::Broken("its first process has no number".to_owned()),
            Answer::Failed(failure) => failure,
        };
        self.give_up(spec, supervisor);
        Err(match failure {
            Failure::Refused(text) => HypervisorError::Unavailable(text),
            Failure::Broken(text) => HypervisorError::Setup(spec.domid, text),
            Failure::Exists => HypervisorError::AlreadyExists(spec.domid),
        })
    }

    fn converse(&self, supervisor: &mut Child, spec: &Spec) -> Answer {
        let broken = |text: String| Answer::Failed(Failure::Broken(text));
        let (Some(lifeline), Some(mut answers)) = (supervisor.stdin.as_mut(), supervisor.stdout.take())
        else {
            return broken("the supervisor has no pipes".to_owned());
        };
        let sent = send_spec(lifeline, self.registry.directory.as_os_str(), spec);
        let patience = PollTimeout::try_from(START_PATIENCE).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(answers.as_fd(), PollFlags::POLLIN)], patience) {
            Ok(0) => broken(format!("it did not start within {} s", START_PATIENCE.as_secs())),
            // Should sending have failed, the answer tells why.
            _ => match (Answer::receive(&mut answers), sent) {
                (Answer::Ready { .. }, Err(error)) => broken(error.to_string()),
                (answer, _) => answer,
            },
        }
    }

    /// After a failure, and whatever state the supervisor was in: it ends, and what it has made goes.
    fn give_up(&self, spec: &Spec, mut supervisor: Child) {
        drop(supervisor.stdin.take());
        let process = i32::try_from(supervisor.id()).ok().and_then(ProcessId::of);
        let ended = process.and_then(|process| process.open().ok().flatten());
        if !ended.is_some_and(|handle| handle.wait(Duration::from_secs(6)).unwrap_or(false)) {
            let _ = supervisor.kill();
        }
        let _ = supervisor.wait();
        if let Some(process) = process {
            self.registry.remove_unfinished_of(spec.domid, process.pid);
        }
        if let Ok(Some(record)) = self.registry.read(spec.domid) {
            if record.uuid == spec.uuid && !record.supervisor.is_alive() {
                let deadline = Instant::now() + Duration::from_secs(5);
                let _ = destroy::kill_all(spec.domid, &record, deadline)
                    .and_then(|()| destroy::clear_away(&self.registry, spec.domid, &record, deadline));
            }
        }
    }
}
