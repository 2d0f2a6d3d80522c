//! The story of a call: each program reports its steps as small events to whoever listens.
//!
//! An event is one datagram of JSON to a unix socket named in the configuration. Reporting never fails a call: with no
//! listener nothing happens. The kernel keeps about ten datagrams for a listener that is busy; a listener that takes none
//! for a second loses this process's story from then on, so that it can hold up a process once and no more. Bytes that come from
//! a qube must be sanitised ([`names::printable`]) before they become part of an event (promise P7).
#![forbid(unsafe_code)]

use serde_json::{Map, Value};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One step of a call or of a qube's life.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When the step was done: nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The program or part that reports, for example `open-in-vm`.
    pub who: String,
    /// What happened: one of the words in `docs/story.md`, for example `claimed`.
    pub step: String,
    /// The qube that the step is about; empty when it is about none.
    pub qube: String,
    /// A sentence for a person.
    pub text: String,
    /// How long the step took, in microseconds, where that means something.
    pub took_us: Option<u64>,
    /// Values for a program: exit codes, byte counts, file and line.
    pub data: Map<String, Value>,
}

impl Event {
    /// An event that happened now.
    #[must_use]
    pub fn now(who: &str, step: &str, qube: &str, text: impl Into<String>) -> Self {
        Self {
            at_ns: os::monotonic_ns(),
            who: who.to_owned(),
            step: step.to_owned(),
            qube: qube.to_owned(),
            text: text.into(),
            took_us: None,
            data: Map::new(),
        }
    }

    /// Adds the duration since `start_ns` (nanoseconds of `CLOCK_MONOTONIC`).
    #[must_use]
    pub fn since(mut self, start_ns: u64) -> Self {
        self.took_us = Some(self.at_ns.saturating_sub(start_ns) / 1000);
        self
    }

    /// Adds a value for programs.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.data.insert(key.to_owned(), value.into());
        self
    }

    /// The event as one line of JSON, without a newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        object.insert("at_ns".into(), self.at_ns.into());
        object.insert("who".into(), self.who.as_str().into());
        object.insert("step".into(), self.step.as_str().into());
        object.insert("qube".into(), self.qube.as_str().into());
        object.insert("text".into(), self.text.as_str().into());
        if let Some(took) = self.took_us {
            object.insert("took_us".into(), took.into());
        }
        if !self.data.is_empty() {
            object.insert("data".into(), Value::Object(self.data.clone()));
        }
        Value::Object(object).to_string()
    }

    /// Reads what [`Self::to_json`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let object: Value = serde_json::from_slice(bytes).ok()?;
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            at_ns: object.get("at_ns")?.as_u64()?,
            who: text("who")?,
            step: text("step")?,
            qube: text("qube")?,
            text: text("text")?,
            took_us: object.get("took_us").and_then(Value::as_u64),
            data: object.get("data").and_then(Value::as_object).cloned().unwrap_or_default(),
        })
    }
}

/// Where events go.
#[derive(Debug, Default)]
pub struct Reporter {
    socket: Option<UnixDatagram>,
    /// The listener was too slow: shared by all clones.
    given_up: Arc<AtomicBool>,
}

/// How long a full listener may hold up a process, once. A busy machine may well keep a living one from its CPU for 50 ms.
const PATIENCE: Duration = Duration::from_secs(1);

impl Reporter {
    /// Reports to the socket at `path`; to nowhere when `path` is `None` or nobody listens there.
    #[must_use]
    pub fn to(path: Option<&Path>) -> Self {
        let socket = path.and_then(|path| os::socket::connect_datagram(path).ok());
        let socket = socket.filter(|socket| socket.set_write_timeout(Some(PATIENCE)).is_ok());
        Self { socket, given_up: Arc::default() }
    }

    /// A second reporter to the same listener.
    #[must_use]
    pub fn try_clone(&self) -> Self {
        let socket = self.socket.as_ref().and_then(|socket| socket.try_clone().ok());
        Self { socket, given_up: self.given_up.clone() }
    }

    /// Sends one event. An event that cannot be sent is lost.
    pub fn report(&self, event: &Event) {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.given_up.load(Ordering::Relaxed)) else {
            return;
        };
        if socket.send(event.to_json().as_bytes()).is_err() {
            // The listener is gone or stuck. The call is more important than its story.
            self.given_up.store(true, Ordering::Relaxed);
        }
    }

    /// Whether anybody was there to listen when this reporter was made.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trip() {
        let event =
            Event::now("open-in-vm", "claimed", "disp4821", "claimed disp4821").since(1).with("exit", 3);
        assert_eq!(Event::from_json(event.to_json().as_bytes()), Some(event));
        assert_eq!(Event::from_json(b"{}"), None);
    }

    #[test]
    fn p6_a_listener_that_reads_nothing_holds_up_a_process_once() {
        let path = std::env::temp_dir().join(format!("trace-{}", std::process::id()));
        let _stuck = os::socket::bind_datagram(&path).unwrap();
        let reporter = Reporter::to(Some(&path));
        (0..10_000).for_each(|_| reporter.report(&Event::now("a", "b", "", "c")));
        assert!(reporter.given_up.load(Ordering::Relaxed));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn p6_reporting_without_a_listener_is_silent() {
        Reporter::to(Some(Path::new("/nonexistent/story"))).report(&Event::now("a", "b", "", "c"));
    }
}
