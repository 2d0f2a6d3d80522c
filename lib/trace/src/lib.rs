//! The story of a call: each program reports its steps as small events to whoever listens.
//!
//! An event is one datagram of JSON to a unix socket named in the configuration. Reporting never waits and never fails a
//! call: with no listener, or one that is too slow, the event is lost and nothing else happens. Bytes that come from
//! a qube must be sanitised ([`names::printable`]) before they become part of an event (promise P7).
#![forbid(unsafe_code)]

use serde_json::{Map, Value};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

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
}

impl Reporter {
    /// Reports to the socket at `path`; to nowhere when `path` is `None` or nobody listens there.
    #[must_use]
    pub fn to(path: Option<&Path>) -> Self {
        let socket = path.and_then(|path| os::socket::connect_datagram(path).ok());
        if let Some(socket) = &socket {
            if socket.set_nonblocking(true).is_err() {
                return Self { socket: None };
            }
        }
        Self { socket }
    }

    /// A second reporter to the same listener.
    #[must_use]
    pub fn try_clone(&self) -> Self {
        Self { socket: self.socket.as_ref().and_then(|socket| socket.try_clone().ok()) }
    }

    /// Sends one event. Never waits; a lost event is lost.
    pub fn report(&self, event: &Event) {
        if let Some(socket) = &self.socket {
            if let Err(error) = socket.send(event.to_json().as_bytes()) {
                // The listener is gone or slow. The call is more important than its story.
                let _: std::io::Error = error;
            }
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
    fn p6_reporting_without_a_listener_is_silent() {
        Reporter::to(Some(Path::new("/nonexistent/story"))).report(&Event::now("a", "b", "", "c"));
    }
}
