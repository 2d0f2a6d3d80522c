//! Calls that wait for the user's session (spec/qrexec-exec.md, section 7).

use std::process::Child;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The waiting process, of which there is at most one, and the calls that wait for it.
#[derive(Debug, Default)]
pub(super) struct Session {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The waiting process runs.
    running: bool,
    /// Which waiting process it is, so that nobody waits for the next one as well.
    round: u64,
    waiting: usize,
}

impl Session {
    /// Returns when the waiting process has ended, with whatever status. The first caller starts it; when that fails,
    /// or too many wait already, nobody waits.
    pub(super) fn wait(&self, start: impl FnOnce() -> Option<Child>) {
        let mut state = self.lock();
        if state.waiting >= MOST {
            log::warn!("{MOST} calls wait for the session already: this one does not");
            return;
        }
        state.waiting += 1;
        if state.running {
            let round = state.round;
            while state.running && state.round == round {
                state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        } else if let Some(mut child) = start() {
            state.running = true;
            drop(state);
            if let Err(error) = child.wait() {
                log::warn!("waiting for the session failed: {error}");
            }
            state = self.lock();
            state.running = false;
            state.round += 1;
            self.ended.notify_all();
        }
        state.waiting -= 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places for waiting calls (spec/qrexec-wire.md 1.3).
const MOST: usize = qubes_qrexec_sys::limit::SLOTS;
