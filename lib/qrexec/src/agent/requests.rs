//! Requests of local programs, from their first byte to the end of their call. Pure.

use crate::wire::{Channel, Decoder, Ident, Message, WireError, limit};
use qubes_qrexec_sys::{ExecParams, TriggerService4};
use std::collections::BTreeMap;
use std::fmt;

/// Number of a request. Never used twice, so that a late answer cannot reach the wrong program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RequestId(u64);

impl RequestId {
    /// Reads `SOCKET` and a decimal number, which is what we call our requests.
    pub(super) fn parse(ident: &[u8]) -> Option<Self> {
        let digits = std::str::from_utf8(ident.strip_prefix(b"SOCKET")?).ok()?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().map(Self)
    }

    /// Twenty digits at most: the text always fits.
    fn ident(self) -> Ident {
        let mut ident = [0; Ident::SIZE];
        ident.iter_mut().zip(self.to_string().bytes()).for_each(|(to, from)| *to = from);
        Ident(ident)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SOCKET{}", self.0)
    }
}

/// All requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    next: u64,
    open: BTreeMap<RequestId, State>,
}

#[derive(Debug)]
enum State {
    /// Its message has not come in full.
    Reading(Decoder),
    /// The daemon was asked.
    Asked,
    /// The daemon was asked, and the program is gone.
    Gone,
    /// The program has the address of its data channel.
    Connected(ExecParams),
}

/// How an answer of the daemon meets a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The program waits for it.
    Go,
    /// The program is gone.
    Over,
    /// There is no such request, or it was answered before.
    Unknown,
}

/// What is wrong with a program's message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadRequest {
    /// It has a header that none has (is the qrexec-client-vm outdated?).
    Wire(WireError),
    /// The name of service and argument is too long for the control channel; bytes with NUL.
    Name(usize),
    /// Something follows it.
    More,
}

impl Requests {
    /// A new request, and the one that had to go for it.
    pub(super) fn open(&mut self) -> (RequestId, Option<RequestId>) {
        let evicted = if self.open.len() >= MOST { self.oldest_silent() } else { None };
        if let Some(silent) = evicted {
            self.open.remove(&silent);
        }
        let id = RequestId(self.next);
        self.next += 1;
        self.open.insert(id, State::Reading(Decoder::new(Channel::Trigger)));
        (id, evicted)
    }

    /// Whether [`Self::open`] may be called: there is a free place, or one that a silent program holds.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < MOST || self.oldest_silent().is_some()
    }

    fn oldest_silent(&self) -> Option<RequestId> {
        self.open.iter().find(|(_, state)| matches!(state, State::Reading(_))).map(|(id, _)| *id)
    }

    /// Bytes of a program; the message for the daemon once it is complete.
    pub(super) fn bytes(&mut self, id: RequestId, bytes: &[u8]) -> Result<Option<Message>, BadRequest> {
        let Some(state) = self.open.get_mut(&id) else { return Ok(None) };
        let State::Reading(decoder) = state else { return Err(BadRequest::More) };
        decoder.push(bytes);
        let Some(message) = decoder.next().map_err(BadRequest::Wire)? else { return Ok(None) };
        let Message::TriggerService4(mut trigger) = message else { return Ok(None) };
        if !decoder.is_between_messages() {
            return Err(BadRequest::More);
        }
        if trigger.service.len() > LONGEST_NAME {
            return Err(BadRequest::Name(trigger.service.len()));
        }
        // What stood in this field is not trusted to be zero behind the text.
        trigger.ident = id.ident();
        *state = State::Asked;
        Ok(Some(Message::TriggerService4(trigger)))
    }

    /// The daemon allowed a request.
    pub(super) fn connect(&mut self, id: RequestId, peer: ExecParams) -> Step {
        match self.open.get_mut(&id) {
            Some(state @ State::Asked) => {
                *state = State::Connected(peer);
                Step::Go
            }
            Some(State::Gone) => {
                self.open.remove(&id);
                Step::Over
            }
            _ => Step::Unknown,
        }
    }

    /// The daemon refused a request.
    pub(super) fn refuse(&mut self, id: RequestId) -> Step {
        let step = match self.open.get(&id) {
            Some(State::Asked) => Step::Go,
            Some(State::Gone) => Step::Over,
            _ => return Step::Unknown,
        };
        self.open.remove(&id);
        step
    }

    /// A program is gone; the connection that ends with it.
    pub(super) fn close(&mut self, id: RequestId) -> Option<ExecParams> {
        match self.open.remove(&id)? {
            State::Connected(peer) => Some(peer),
            State::Asked => {
                self.open.insert(id, State::Gone);
                None
            }
            State::Reading(_) | State::Gone => None,
        }
    }

    /// Whether bytes are expected of this program: they are not while the daemon is being asked.
    pub(super) fn is_heard(&self, id: RequestId) -> bool {
        !matches!(self.open.get(&id), Some(State::Asked))
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(cause) => write!(f, "{cause}"),
            Self::Name(len) => write!(
                f,
                "the name of service and argument has {len} bytes with its NUL, the control channel carries {LONGEST_NAME}"
            ),
            Self::More => write!(f, "something follows the message"),
        }
    }
}

/// The protocol allows names of up to 65000 bytes, but the ring of the control channel holds 4096 in all: a longer body
/// can never be delivered over Xen and blocks upstream's daemon for ever over sockets (spec/qrexec-wire.md 2.1).
const LONGEST_NAME: usize = limit::CONTROL_RING - TriggerService4::SIZE;

/// Most requests at one time. The protocol has no limit here; upstream's is that of open files.
pub(super) const MOST: usize = 512;

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn idents() {
        assert_eq!(RequestId::parse(b"SOCKET12"), Some(RequestId(12)));
        assert_eq!(RequestId::parse(RequestId(u64::MAX).to_string().as_bytes()), Some(RequestId(u64::MAX)));
        for bad in [
            "",
            "SOCKET",
            "SOCKET+1",
            "SOCKET-1",
            "SOCKET 1",
            "socket1",
            "SOCKET1x",
            "SOCKET99999999999999999999",
        ] {
            assert_eq!(RequestId::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
