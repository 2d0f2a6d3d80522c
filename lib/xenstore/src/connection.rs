//! One connection.

use crate::wire::{self, HEADER, Header, Operation};
use names::DomId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A change of which a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What has changed, as it was watched: relative where the watch was.
    pub path: String,
    /// What the watch was set with.
    pub token: String,
}

/// A connection to xenstore. Relative paths mean the own domain's directory. Every wait for an answer is bounded (5 s).
/// Closing it ends its watches.
#[derive(Debug)]
pub struct Xenstore {
    file: File,
    last_request: u32,
    events: VecDeque<Event>,
    patience: Duration,
}

impl Xenstore {
    /// Connects: to the daemon's socket where there is one (dom0), else to the kernel's device.
    ///
    /// # Errors
    /// The system's, for the device; [`io::ErrorKind::NotFound`] with the remedy when this is no Xen domain.
    pub fn open() -> io::Result<Self> {
        for path in SOCKETS {
            if let Ok(stream) = os::socket::connect(Path::new(path)) {
                return Ok(Self::from(stream));
            }
        }
        let mut failure = None;
        for path in DEVICES {
            match OpenOptions::new().read(true).write(true).open(path) {
                Ok(file) => return Ok(Self::new(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => failure = Some(io::Error::new(error.kind(), format!("{path}: {error}"))),
            }
        }
        Err(failure.unwrap_or_else(|| {
            let text = "no xenstore: this is no domain of a Xen machine, or xenstored does not run; start it, or load \
                        the module xenfs";
            io::Error::new(io::ErrorKind::NotFound, text)
        }))
    }

    fn new(file: File) -> Self {
        Self { file, last_request: 0, events: VecDeque::new(), patience: PATIENCE }
    }

    /// The same with another bound for each answer.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The value of a path; `None` when there is none.
    ///
    /// # Errors
    /// No permission, no answer in time, no connection left.
    pub fn read(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        found(self.ask(Operation::Read, 0, &wire::texts(&[path])))
    }

    /// The value of a path that holds a text; a value that is no text counts as none.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_text(&mut self, path: &str) -> io::Result<Option<String>> {
        Ok(self.read(path)?.and_then(|value| String::from_utf8(value).ok()))
    }

    /// The names below a path; none when it does not exist.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn list(&mut self, path: &str) -> io::Result<Vec<String>> {
        self.list_in(0, path)
    }

    fn list_in(&mut self, transaction: u32, path: &str) -> io::Result<Vec<String>> {
        let answer = found(self.ask(Operation::Directory, transaction, &wire::texts(&[path])))?;
        let names = answer.unwrap_or_default();
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Sets the value of a path.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
        let mut payload = wire::texts(&[path]);
        payload.extend_from_slice(value.as_bytes());
        self.ask(Operation::Write, 0, &payload).map(drop)
    }

    /// Removes a path with all below it; that it is gone already is a success.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        found(self.ask(Operation::Remove, 0, &wire::texts(&[path]))).map(drop)
    }

    /// Removes `directory/name`, and `directory` when nothing else is in it, in one step.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn remove_and_prune(&mut self, directory: &str, name: &str) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let answer = self.ask(Operation::TransactionStart, 0, &[0])?;
            let number = answer.split(|byte| *byte == 0).next().unwrap_or_default();
            let transaction = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
            let transaction = transaction.ok_or_else(|| invalid("a transaction without a number"))?;
            let mut change = || {
                let gone = wire::texts(&[&format!("{directory}/{name}")]);
                found(self.ask(Operation::Remove, transaction, &gone))?;
                if self.list_in(transaction, directory)?.is_empty() {
                    found(self.ask(Operation::Remove, transaction, &wire::texts(&[directory])))?;
                }
                Ok(())
            };
            let changed: io::Result<()> = change();
            let end = if changed.is_ok() { "T" } else { "F" };
            let ended = self.ask(Operation::TransactionEnd, transaction, &wire::texts(&[end]));
            changed?;
            match ended {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "xenstore: a change was overtaken again and again"))
    }

    /// Whether xenstore knows the domain; it forgets one as soon as it dies.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn is_introduced(&mut self, domid: DomId) -> io::Result<bool> {
        let answer = self.ask(Operation::IsDomainIntroduced, 0, &wire::texts(&[&domid.to_string()]))?;
        Ok(answer.first() == Some(&b'T'))
    }

    /// Watches a path and all below it. The first event comes at once.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn watch(&mut self, path: &str, token: &str) -> io::Result<()> {
        self.ask(Operation::Watch, 0, &wire::texts(&[path, token])).map(drop)
    }

    /// The next event; `None` when there is none within `limit`.
    ///
    /// # Errors
    /// No connection left.
    pub fn next_event(&mut self, limit: Duration) -> io::Result<Option<Event>> {
        let until = Instant::now() + limit;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if !self.is_readable_before(until)? {
                return Ok(None);
            }
            let (head, payload) = self.receive()?;
            self.note(head, &payload);
        }
    }

    fn ask(&mut self, operation: Operation, transaction: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
        self.last_request = self.last_request.wrapping_add(1);
        let request = self.last_request;
        self.file.write_all(&wire::request(operation, request, transaction, payload)?)?;
        let until = Instant::now() + self.patience;
        loop {
            if !self.is_readable_before(until)? {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "xenstore: no answer in time"));
            }
            let (head, payload) = self.receive()?;
            if head.kind == wire::WATCH_EVENT {
                self.note(head, &payload);
            } else if head.request == request || is_kernels_answer(operation, head) {
                return if head.kind == wire::ERROR { Err(wire::error(&payload)) } else { Ok(payload) };
            }
            // Anything else answers a request that was given up.
        }
    }

    fn note(&mut self, head: Header, payload: &[u8]) {
        if head.kind != wire::WATCH_EVENT {
            return;
        }
        let mut texts = payload.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        if let (Some(path), Some(token)) = (texts.next(), texts.next()) {
            self.events.push_back(Event { path: path.into_owned(), token: token.into_owned() });
        }
    }

    fn receive(&mut self) -> io::Result<(Header, Vec<u8>)> {
        let until = Instant::now() + self.patience;
        let mut head = [0; HEADER];
        self.fill(&mut head, until)?;
        let head = Header::parse(&head)?;
        let mut payload = vec![0; head.length];
        self.fill(&mut payload, until)?;
        Ok((head, payload))
    }

    fn fill(&mut self, mut buffer: &mut [u8], until: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            if !self.is_readable_before(until)? {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "xenstore: half a message"));
            }
            match self.file.read(buffer) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "xenstore: closed")),
                Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_readable_before(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let millis = left.as_millis() + u128::from(left.subsec_nanos() % 1_000_000 != 0);
            let limit = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)], limit) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl From<UnixStream> for Xenstore {
    /// Takes a connected socket of a xenstore daemon.
    fn from(stream: UnixStream) -> Self {
        Self::new(File::from(OwnedFd::from(stream)))
    }
}

/// Watches that are set through the kernel's device are the kernel's own; it answers without the number of the request
/// (Linux, drivers/xen/xenbus/xenbus_dev_frontend.c).
fn is_kernels_answer(operation: Operation, head: Header) -> bool {
    operation == Operation::Watch && head.kind == Operation::Watch as u32 && head.request == 0
}

/// What is not there is no failure.
fn found(answer: io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    match answer {
        Ok(payload) => Ok(Some(payload)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("xenstore: {what}"))
}

const SOCKETS: &[&str] = &["/run/xenstored/socket", "/var/run/xenstored/socket"];
const DEVICES: &[&str] = &["/dev/xen/xenbus", "/proc/xen/xenbus"];
const PATIENCE: Duration = Duration::from_secs(5);
/// A transaction fails when somebody else changed the same; rarely twice.
const ATTEMPTS: usize = 20;
