//! Events: one of many messages that follow the question `admin.Events`.

use crate::ErrorClass;
use std::fmt;

/// Longest event that we take, in bytes.
pub const MAX_EVENT: usize = 1024 * 1024;

/// Something that happened to a qube or to the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The qube's name; empty for the system.
    pub subject: String,
    /// What happened, for example `domain-feature-set:internal`.
    pub name: String,
    /// Names and values, in the order sent.
    pub values: Vec<(String, String)>,
}

impl Event {
    /// An event about a qube, or about the system when `subject` is empty.
    #[must_use]
    pub fn new(subject: &str, name: &str) -> Self {
        Self { subject: subject.to_owned(), name: name.to_owned(), values: Vec::new() }
    }

    /// Adds a value.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.values.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The bytes of the event. NUL bytes in texts are left out, they would end the text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = b"1\0".to_vec();
        let mut field = |text: &str| {
            bytes.extend(text.bytes().filter(|&b| b != 0));
            bytes.push(0);
        };
        field(&self.subject);
        field(&self.name);
        for (key, value) in self.values.iter().filter(|(key, _)| !key.is_empty()) {
            field(key);
            field(value);
        }
        bytes.push(0);
        bytes
    }
}

/// Why a stream of events ends before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventError {
    /// Bytes that are no event; the reason.
    Malformed(&'static str),
    /// The other side refused.
    Refused {
        /// The kind of refusal.
        class: ErrorClass,
        /// A text for a person.
        message: String,
    },
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(reason) => f.write_str(reason),
            Self::Refused { class, message } => write!(f, "{message} ({class})"),
        }
    }
}

impl std::error::Error for EventError {}

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub struct EventDecoder {
    buffer: Vec<u8>,
}

impl EventDecoder {
    /// Takes bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When the bytes can never become an event; the stream is then of no further use.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventError> {
        match self.buffer.as_slice() {
            [] | [b'1' | b'2'] => return Ok(None),
            [b'1', 0, ..] => {}
            [b'2', 0, rest @ ..] => return refusal(rest),
            _ => return Err(EventError::Malformed("it starts with no known mark")),
        }
        let Some((event, used)) = cut(&self.buffer)? else {
            if self.buffer.len() > MAX_EVENT {
                return Err(EventError::Malformed("an event of more than a mebibyte"));
            }
            return Ok(None);
        };
        self.buffer.drain(..used);
        Ok(Some(event))
    }
}

fn refusal(rest: &[u8]) -> Result<Option<Event>, EventError> {
    let fields: Vec<&[u8]> = rest.split(|&b| b == 0).collect();
    match fields.as_slice() {
        [class, _traceback, message, _, ..] => Err(EventError::Refused {
            class: ErrorClass::from(String::from_utf8_lossy(class).as_ref()),
            message: String::from_utf8_lossy(message).into_owned(),
        }),
        _ if rest.len() > MAX_EVENT => Err(EventError::Malformed("an error of more than a mebibyte")),
        _ => Ok(None),
    }
}

/// The first event of the buffer and its length, when it is whole.
fn cut(buffer: &[u8]) -> Result<Option<(Event, usize)>, EventError> {
    let mut position = 2;
    let mut field = || {
        let rest = buffer.get(position..)?;
        let length = rest.iter().position(|&b| b == 0)?;
        position += length + 1;
        rest.get(..length)
    };
    let text = |bytes: &[u8]| {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| EventError::Malformed("an event that is no text"))
    };
    let (Some(subject), Some(name)) = (field(), field()) else { return Ok(None) };
    let mut event = Event { subject: text(subject)?, name: text(name)?, values: Vec::new() };
    loop {
        let Some(key) = field() else { return Ok(None) };
        if key.is_empty() {
            return Ok(Some((event, position)));
        }
        let Some(value) = field() else { return Ok(None) };
        event.values.push((text(key)?, text(value)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_event_as_seen_upstream() {
        assert_eq!(Event::new("", "connection-established").encode(), b"1\0\0connection-established\0\0");
    }

    #[test]
    fn a_refusal_ends_the_stream() {
        let mut decoder = EventDecoder::default();
        decoder.push(b"2\0PermissionDenied\0\0no");
        assert_eq!(decoder.next_event(), Ok(None));
        decoder.push(b"\0");
        assert!(matches!(decoder.next_event(), Err(EventError::Refused { .. })));
        let mut decoder = EventDecoder::default();
        decoder.push(b"x");
        assert!(decoder.next_event().is_err());
    }

    proptest::proptest! {
        #[test]
        fn events_survive_any_cutting(
            events in proptest::collection::vec(
                ("[a-z]{0,5}", "[a-z:-]{1,9}", proptest::collection::vec(("[a-z]{1,4}", "[ -~]{0,6}"), 0..4)), 1..5),
            size in 1usize..9,
        ) {
            let events: Vec<Event> =
                events.into_iter().map(|(subject, name, values)| Event { subject, name, values }).collect();
            let bytes: Vec<u8> = events.iter().flat_map(Event::encode).collect();
            let mut decoder = EventDecoder::default();
            let mut got = Vec::new();
            for part in bytes.chunks(size) {
                decoder.push(part);
                while let Some(event) = decoder.next_event().unwrap() {
                    got.push(event);
                }
            }
            proptest::prop_assert_eq!(got, events);
        }
    }
}
