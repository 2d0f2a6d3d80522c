//! The application that opens a file or URL.

use super::holders::{Holders, descendants, group};
use super::session::{Session, Stop};
use crate::command_words::{self, WordsError};
use crate::exit_code;
use crate::signals::send;
use names::printable;
use nix::sys::signal::Signal;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEFAULT: &str = "xdg-open";
/// How long after the application's end another process may show up with the file: a starter such as xdg-open ends
/// before the program that it asked has opened anything.
const GRACE_OF_STARTER: Duration = Duration::from_millis(1000);
const GRACE_OF_CHOSEN: Duration = Duration::from_millis(300);
/// The longest wait for processes that keep a file open.
const LONGEST_HOLD: Duration = Duration::from_secs(24 * 3600);
/// How often what was started is looked at, at first: what only tells another process ends soon.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// What runs longer has a window of its own and is looked at no more.
const LONGEST_BEGIN: Duration = Duration::from_secs(60);
/// How long a process may take to end when asked to.
const PATIENCE: Duration = Duration::from_secs(1);

/// The command line that opens things here: `QUBES_OPEN_WITH`, else xdg-open.
pub(super) struct OpenWith {
    words: Vec<OsString>,
    is_default: bool,
    grace: Duration,
}

impl OpenWith {
    pub(super) fn from_environment() -> Result<Self, ApplicationError> {
        let text = env::var_os("QUBES_OPEN_WITH").unwrap_or_default();
        let words = command_words::split(&text).map_err(ApplicationError::Words)?;
        let is_default = words.is_empty();
        let words = if is_default { vec![DEFAULT.into()] } else { words };
        let usual = if is_default { GRACE_OF_STARTER } else { GRACE_OF_CHOSEN };
        let grace = env::var("QUBES_OPEN_GRACE").ok().and_then(|text| text.parse().ok());
        Ok(Self { words, is_default, grace: grace.map_or(usual, Duration::from_millis) })
    }

    /// Starts the application for `what`, which becomes its last argument. It gets no input; its output goes to our
    /// standard error or to nowhere, never into the reply (M48, L15).
    pub(super) fn start(&self, what: &OsStr, output: Output) -> Result<Application, ApplicationError> {
        let mut words = self.words.iter();
        let program = words.next().map(OsString::as_os_str).unwrap_or_default();
        let output = match output {
            Output::ToStderr => {
                io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from)
            }
            Output::Nowhere => Stdio::null(),
        };
        let mut command = Command::new(program);
        command.args(words).arg(what).stdin(Stdio::null()).stdout(output).process_group(0);
        if self.is_default {
            // xdg-open then starts the program itself instead of asking a desktop to do so (spec/open-file.md 2.3).
            command.env("DE", "generic");
        }
        let child = command.spawn().map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound if self.is_default => ApplicationError::NoDefault,
            _ => ApplicationError::Start(printable(program.as_bytes()).to_string(), cause),
        })?;
        let words = self.words.clone();
        Ok(Application { child, words, is_default: self.is_default, grace: self.grace })
    }
}

impl Display for OpenWith {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.words.iter().map(|word| printable(word.as_bytes()).to_string()).collect();
        f.write_str(&words.join(" "))
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Output {
    ToStderr,
    Nowhere,
}

pub(super) struct Application {
    child: Child,
    words: Vec<OsString>,
    is_default: bool,
    grace: Duration,
}

impl Application {
    /// Waits for the application and then for everybody who still holds what it opened. `is_done` tells that the work is
    /// visibly done, so that no late comer needs to be waited for; `held` is called once if there is somebody to wait for, with
    /// the name of an application that was asked over the session's bus or by what was started.
    ///
    /// When the service is to stop, all of them are ended first.
    pub(super) fn wait(
        mut self,
        session: &Session,
        holders: &Holders,
        is_done: &dyn Fn() -> bool,
        held: &dyn Fn(Option<&str>),
    ) -> Result<Ended, Stop> {
        let leader = i32::try_from(self.child.id()).unwrap_or(0);
        holders.runs(&self.words);
        let begin = Instant::now();
        let ended = self.wait_for_child(session, holders).and_then(|ended| {
            let is_well = ended.code() == exit_code::SUCCESS;
            // Who works on the file itself, or has a window of its own for long, tells nobody else.
            let may_have_told = is_well && !is_done() && begin.elapsed() < LONGEST_BEGIN;
            let grace = if is_well { self.grace } else { Duration::ZERO };
            let held_by = || {
                let open = holders.scan();
                let told = if may_have_told { holders.instance(&open) } else { None };
                match holders.taker() {
                    None if !open.is_empty() || !group(leader).is_empty() => Some(None),
                    None => told.map(Some),
                    taker => Some(taker),
                }
            };
            wait_while(session, &held_by, grace, is_done, held).map(|()| ended)
        });
        if ended.is_err() {
            end_all(session, holders);
        }
        ended
    }

    fn wait_for_child(&mut self, session: &Session, holders: &Holders) -> Result<Ended, Stop> {
        let begin = Instant::now();
        loop {
            holders.look();
            if let Some(status) = self.child.try_wait().map_err(Stop::System)? {
                return Ok(Ended { status, is_default: self.is_default });
            }
            let elapsed = begin.elapsed();
            session.pause((elapsed < LONGEST_BEGIN).then(|| (elapsed / 50).max(BETWEEN_LOOKS)))?;
        }
    }
}

/// What the application started and left in its process group still belongs to it; whoever made a group of its own, as
/// daemons do, counts while it holds what was opened.
fn wait_while(
    session: &Session,
    held_by: &dyn Fn() -> Option<Option<String>>,
    grace: Duration,
    is_done: &dyn Fn() -> bool,
    held: &dyn Fn(Option<&str>),
) -> Result<(), Stop> {
    let begin = Instant::now();
    let mut quiet_since = begin;
    let mut told = false;
    let mut pause = Duration::from_millis(20);
    while begin.elapsed() < LONGEST_HOLD {
        if let Some(taker) = held_by() {
            quiet_since = Instant::now();
            pause = (pause * 2).min(Duration::from_millis(500));
            if !told {
                held(taker.as_deref());
                told = true;
            }
        } else if quiet_since.elapsed() >= grace || is_done() {
            return Ok(());
        } else {
            pause = Duration::from_millis(50);
        }
        session.pause(Some(pause))?;
    }
    Ok(())
}

/// Ends everything that we started and everybody who holds the file: asked first, then by force.
fn end_all(session: &Session, holders: &Holders) {
    let begin = Instant::now();
    let mut asked = Vec::new();
    while begin.elapsed() < PATIENCE * 3 {
        let mut alive = descendants();
        alive.extend(holders.scan());
        if alive.is_empty() {
            return;
        }
        for pid in alive {
            if begin.elapsed() > PATIENCE {
                send(pid, Signal::SIGKILL);
            } else if !asked.contains(&pid) {
                send(pid, Signal::SIGTERM);
                send(pid, Signal::SIGCONT);
                asked.push(pid);
            }
        }
        if session.signals().wait(&[], Some(Duration::from_millis(20))).is_err() {
            return;
        }
    }
}

/// "A required tool could not be found" (xdg-open(1)): no program is there for this kind of file or URL.
const XDG_OPEN_HAS_NOTHING: i32 = 3;

/// How an application ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    status: std::process::ExitStatus,
    is_default: bool,
}

impl Ended {
    /// The code that the service passes on. 126 means "refused" and nothing else (M44): an application's 126 becomes 1.
    pub(super) fn code(self) -> u8 {
        match exit_code::of(self.status) {
            exit_code::REFUSED => exit_code::FAILURE,
            code => code,
        }
    }
}

impl Display for Ended {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        use std::os::unix::process::ExitStatusExt;
        match (self.status.code(), self.status.signal()) {
            (Some(XDG_OPEN_HAS_NOTHING), _) if self.is_default => f.write_str(
                "xdg-open has no application here that opens it; name one with --with COMMAND (QUBES_OPEN_WITH)",
            ),
            (Some(code), _) => write!(f, "application ended with exit code {code}"),
            (None, Some(signal)) => write!(f, "application was ended by signal {signal}"),
            (None, None) => f.write_str("application ended in an unknown way"),
        }
    }
}

/// Why no application could be started.
#[derive(Debug)]
pub(super) enum ApplicationError {
    Words(WordsError),
    NoDefault,
    Start(String, io::Error),
}

impl ApplicationError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Words(_) => exit_code::FAILURE,
            Self::NoDefault | Self::Start(..) => exit_code::NOT_FOUND,
        }
    }
}

impl Display for ApplicationError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(error) => write!(f, "QUBES_OPEN_WITH is no command line: {error}"),
            Self::NoDefault => f.write_str(
                "this qube has no xdg-open to choose an application; name one with --with COMMAND (QUBES_OPEN_WITH)",
            ),
            Self::Start(program, cause) => write!(
                f,
                "cannot start the application {program}: {cause}; name another one with --with COMMAND \
                 (QUBES_OPEN_WITH)"
            ),
        }
    }
}
