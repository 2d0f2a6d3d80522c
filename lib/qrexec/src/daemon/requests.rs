//! Requests of the qube that have not ended (spec/qrexec-wire.md, section 4 and 6.5).

use super::RequestId;
use qubes_qrexec_sys::Ident;
use qubes_qrexec_sys::limit::SLOTS;

/// Most requests that may be under way at once, running services in dom0 included.
pub const REQUESTS: usize = SLOTS;

/// The requests under way. Each is answered at most once.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    list: Vec<Entry>,
    next: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    id: RequestId,
    ident: Ident,
    state: State,
}

impl Entry {
    fn is_open_as(&self, text: &[u8]) -> bool {
        self.state == State::Open && self.ident.text() == text
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The agent waits for an answer.
    Open,
    /// The agent has its answer; the call may still run.
    Answered,
    /// The agent that asked is gone: nobody is left to answer. Still counted, as its thread still runs.
    Orphaned,
}

impl Requests {
    /// Takes up a request; `None` when [`REQUESTS`] are under way.
    pub fn open(&mut self, ident: Ident) -> Option<RequestId> {
        if self.list.len() >= REQUESTS {
            return None;
        }
        let id = RequestId(self.next);
        self.next += 1;
        self.list.push(Entry { id, ident, state: State::Open });
        Some(id)
    }

    /// Marks this request answered and gives the agent's name for it; `None` when it needs no answer any more.
    pub fn answer(&mut self, id: RequestId) -> Option<Ident> {
        Self::take(self.list.iter_mut().find(|entry| entry.id == id && entry.state == State::Open))
    }

    /// Marks the oldest open request answered whose id is this text; `None` when there is none.
    pub fn answer_by_text(&mut self, text: &[u8]) -> Option<Ident> {
        Self::take(self.list.iter_mut().find(|entry| entry.is_open_as(text)))
    }

    /// Whether a request with this text as its id waits for an answer.
    #[must_use]
    pub fn is_open_by_text(&self, text: &[u8]) -> bool {
        self.list.iter().any(|entry| entry.is_open_as(text))
    }

    /// Whether this request waits for an answer.
    #[must_use]
    pub fn is_open(&self, id: RequestId) -> bool {
        self.list.iter().any(|entry| entry.id == id && entry.state == State::Open)
    }

    /// Ends a request; gives the agent's name for it when the agent was never answered.
    pub fn end(&mut self, id: RequestId) -> Option<Ident> {
        let index = self.list.iter().position(|entry| entry.id == id)?;
        let entry = self.list.remove(index);
        (entry.state == State::Open).then_some(entry.ident)
    }

    /// The agent is gone: its open requests will get no answer.
    pub fn orphan_all(&mut self) {
        for entry in &mut self.list {
            entry.state = State::Orphaned;
        }
    }

    /// How many requests are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether no request is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn take(entry: Option<&mut Entry>) -> Option<Ident> {
        let entry = entry?;
        entry.state = State::Answered;
        Some(entry.ident)
    }
}
