//! One call through qrexec-client-vm: what goes out, what comes back, how it ends.

use super::words::Words;
use crate::exit_code;
use crate::signals::{self, Signals, Waker};
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

const BUFFER: usize = 256 * 1024;
const PIPE: i32 = 1 << 20;
/// How long the program may take to end when asked to.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is sent: some bytes, then a file.
pub(super) struct Payload {
    pub(super) head: Vec<u8>,
    pub(super) body: Option<File>,
}

pub(super) enum Ended {
    /// With this code; `sent_whole` tells whether all that was to be sent has been taken.
    Exit {
        code: u8,
        sent_whole: bool,
        /// What was said on the way, sanitised, if that was listened to.
        words: Vec<String>,
    },
    /// We were asked to end by this signal.
    Signal(i32),
}

pub(super) struct Call {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    words: Option<Words>,
    payload: Payload,
}

impl Call {
    /// Starts `client -- target service` without a shell. With `listen`, what it says on standard error is collected
    /// beside being passed on.
    pub(super) fn start(
        client: &Path,
        target: &OsStr,
        service: &str,
        payload: Payload,
        listen: bool,
    ) -> io::Result<Self> {
        let mut child = Command::new(client)
            .arg("--")
            .arg(target)
            .arg(service)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if listen { Stdio::piped() } else { Stdio::inherit() })
            .spawn()?;
        let words = child.stderr.take().and_then(|stderr| Words::listen(stderr).ok());
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        for pipe in [stdin.as_fd(), stdout.as_fd()] {
            if fcntl(pipe, FcntlArg::F_SETPIPE_SZ(PIPE)).is_err() {
                // The usual size serves too.
            }
        }
        Ok(Self { child, stdin, stdout, words, payload })
    }

    /// Carries the call through. `accept` gets what comes back; `sent` is told the size of the file once all has gone out.
    ///
    /// On every way out the program has ended.
    pub(super) fn run(
        self,
        signals: &Signals,
        accept: &mut dyn FnMut(&[u8]) -> io::Result<()>,
        sent: &dyn Fn(u64),
    ) -> Result<Ended, CallError> {
        let Self { mut child, stdin, stdout, words, payload } = self;
        let waker = signals.waker().map_err(CallError::System);
        let mut result = waker
            .and_then(|waker| send_aside(stdin, payload, waker).map_err(CallError::System))
            .and_then(|sending| exchange(&mut child, &sending, stdout, signals, accept, sent));
        if !matches!(result, Ok(Ended::Exit { .. })) {
            stop(&mut child, signals);
        }
        if let (Ok(Ended::Exit { words: collected, .. }), Some(words)) = (&mut result, words) {
            *collected = words.collected();
        }
        result
    }
}

fn exchange(
    child: &mut Child,
    sending: &Receiver<Sent>,
    stdout: ChildStdout,
    signals: &Signals,
    accept: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    sent: &dyn Fn(u64),
) -> Result<Ended, CallError> {
    let mut stdout = Some(stdout);
    let mut buffer = vec![0; BUFFER];
    let mut report = None;
    let mut last_news = Instant::now();
    loop {
        if let Some(signal) = signals.caught() {
            return Ok(Ended::Signal(signal));
        }
        let gone = child.try_wait().map_err(CallError::System)?;
        if report.is_none() {
            // Once the reader is gone, the sender ends at once as well, but its report may be a moment behind.
            let patience = if gone.is_some() { PATIENCE } else { Duration::ZERO };
            report = sending.recv_timeout(patience).ok();
            match &report {
                Some(Sent::Whole(bytes)) => sent(*bytes),
                Some(Sent::SourceFailed { cause, .. }) => return Err(CallError::Source(cause.to_string())),
                Some(Sent::PeerClosed) | None => {}
            }
        }
        if let Some(status) = gone {
            // Should another process have inherited its output, we do not wait for that one for long.
            if stdout.is_none() || last_news.elapsed() > PATIENCE {
                let sent_whole = matches!(report, Some(Sent::Whole(_)));
                return Ok(Ended::Exit { code: exit_code::of(status), sent_whole, words: Vec::new() });
            }
        }
        let timeout = gone.map(|_| PATIENCE / 4);
        let polled: Vec<_> = stdout.iter().map(|stdout| (stdout.as_fd(), PollFlags::POLLIN)).collect();
        let news = signals.wait(&polled, timeout).map_err(CallError::System)?;
        let ready = news.first().is_some_and(|news| !news.is_empty());
        if let (true, Some(open)) = (ready, &mut stdout) {
            last_news = Instant::now();
            match open.read(&mut buffer) {
                Ok(0) => stdout = None,
                Ok(count) => accept(buffer.get(..count).unwrap_or_default()).map_err(CallError::Keep)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CallError::System(error)),
            }
        }
    }
}

/// How sending ended.
enum Sent {
    Whole(u64),
    /// The other side wants no more; how the call ends says why.
    PeerClosed,
    /// Our file cannot be read. The stream stays open: were it closed, the other side would take a part for the whole.
    SourceFailed {
        cause: io::Error,
        _open: ChildStdin,
    },
}

fn send_aside(mut stdin: ChildStdin, payload: Payload, waker: Waker) -> io::Result<Receiver<Sent>> {
    let (report, reports) = channel();
    thread::Builder::new().name("send".into()).spawn(move || {
        let sent = match send(&mut stdin, payload) {
            Ok(bytes) => {
                drop(stdin);
                Sent::Whole(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Sent::PeerClosed,
            Err(cause) => Sent::SourceFailed { cause, _open: stdin },
        };
        if report.send(sent).is_ok() {
            waker.wake();
        }
    })?;
    Ok(reports)
}

fn send(stdin: &mut ChildStdin, payload: Payload) -> io::Result<u64> {
    stdin.write_all(&payload.head)?;
    match payload.body {
        Some(mut body) => io::copy(&mut body, stdin),
        None => Ok(0),
    }
}

/// Ends the program: asked first, then by force.
fn stop(child: &mut Child, signals: &Signals) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    signals::send(pid, Signal::SIGTERM);
    let deadline = Instant::now() + PATIENCE;
    while matches!(child.try_wait(), Ok(None)) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || signals.wait(&[], Some(left)).is_err() {
            signals::send(pid, Signal::SIGKILL);
            break;
        }
    }
    if child.wait().is_err() {
        // It was never ours to wait for, or is gone.
    }
}

/// Why a call was given up.
#[derive(Debug)]
pub(super) enum CallError {
    Source(String),
    Keep(io::Error),
    System(io::Error),
}

impl Display for CallError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(cause) => write!(f, "cannot read the file to its end: {cause}; the call was ended"),
            Self::Keep(cause) => write!(f, "cannot keep what comes back: {cause}; the call was ended"),
            Self::System(cause) => write!(f, "the call was ended: {cause}"),
        }
    }
}
