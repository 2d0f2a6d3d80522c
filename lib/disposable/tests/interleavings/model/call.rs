//! A call, one system call a step.

use super::{At, Domain, State};

/// The next system call of a call: names as in `queue/claim.rs`, `queue/reserved.rs` and `wake.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Call {
    Lock,
    ReadCounters,
    Open {
        head: u8,
        tail: u8,
    },
    Append {
        head: u8,
        tail: u8,
        file: u8,
    },
    Rename {
        head: u8,
        tail: u8,
        file: u8,
    },
    DiscardTouched {
        head: u8,
        tail: u8,
        file: u8,
    },
    WriteCounters {
        head: u8,
        tail: u8,
        file: Option<u8>,
    },
    /// None was ready: the oldest that is starting is reserved, under the same lock.
    LookForStarting,
    AppendReserved {
        file: u8,
    },
    RenameReserved {
        file: u8,
    },
    UnlockReserved {
        file: u8,
    },
    Await {
        file: u8,
    },
    LockGiveUp {
        file: u8,
    },
    GiveUp {
        file: u8,
    },
    Unlock {
        file: Option<u8>,
    },
    Wake {
        file: u8,
    },
    Use {
        file: u8,
    },
    Settle {
        file: u8,
    },
    Ended,
    Dead,
}

impl State {
    pub(super) fn call(&mut self, process: u8, locked: bool) -> Option<Call> {
        let now = self.calls[usize::from(process)];
        Some(match now {
            Call::Ended | Call::Dead => return None,
            Call::Lock => self.take_lock(process, locked).then_some(Call::ReadCounters)?,
            Call::ReadCounters => Call::Open { head: self.head, tail: self.tail },
            Call::Open { head, tail } if head >= tail => Call::WriteCounters { head, tail, file: None },
            Call::Open { head, tail } => match self.ready(head) {
                None => Call::Open { head: head + 1, tail },
                Some(file) if self.disposables[usize::from(file)].claimer.is_some() => {
                    Call::DiscardTouched { head, tail, file }
                }
                Some(file) => Call::Append { head, tail, file },
            },
            Call::Append { head, tail, file } => {
                let disposable = self.file(file);
                disposable.claimer = disposable.claimer.or(Some(process));
                Call::Rename { head, tail, file }
            }
            // A rename of what is no longer there fails: the call starts cold, and the lock goes.
            Call::Rename { head, tail, file }
                if self.disposables[usize::from(file)].at == At::Ready(head) =>
            {
                self.file(file).at = At::Claimed;
                Call::WriteCounters { head: head + 1, tail, file: Some(file) }
            }
            Call::Rename { .. } => Call::Unlock { file: None },
            Call::DiscardTouched { head, tail, file } => {
                if self.file(file).at == At::Ready(head) {
                    self.file(file).at = At::Done;
                }
                Call::Open { head: head + 1, tail }
            }
            Call::WriteCounters { head, tail, file } => {
                (self.head, self.tail) = (head, tail);
                if file.is_some() { Call::Unlock { file } } else { Call::LookForStarting }
            }
            // A start whose keeper died will never be handed over.
            Call::LookForStarting if self.disposables[1].at == At::Starting && !self.restarted => {
                Call::AppendReserved { file: 1 }
            }
            Call::LookForStarting => Call::Unlock { file: None },
            Call::AppendReserved { file } => {
                let disposable = self.file(file);
                disposable.claimer = disposable.claimer.or(Some(process));
                Call::RenameReserved { file }
            }
            Call::RenameReserved { file } if self.file(file).at == At::Starting => {
                self.file(file).at = At::Claimed;
                Call::UnlockReserved { file }
            }
            Call::RenameReserved { .. } => Call::Unlock { file: None },
            Call::UnlockReserved { file } => {
                self.unlock(process);
                Call::Await { file }
            }
            Call::Await { file } => self.try_wait(file).unwrap_or(Call::LockGiveUp { file }),
            Call::LockGiveUp { file } => self.take_lock(process, locked).then_some(Call::GiveUp { file })?,
            Call::GiveUp { file } => {
                let outcome = self.try_wait(file);
                if outcome.is_none() {
                    self.file(file).at = At::Done;
                }
                self.unlock(process);
                outcome.unwrap_or(Call::Ended)
            }
            Call::Unlock { file } => {
                self.unlock(process);
                file.map_or(Call::Ended, |file| Call::Wake { file })
            }
            Call::Wake { file } => {
                let disposable = self.file(file);
                if disposable.domain == Domain::Paused {
                    disposable.domain = Domain::Running;
                    disposable.handed_out += 1;
                    Call::Use { file }
                } else {
                    Call::Settle { file }
                }
            }
            Call::Use { file } => {
                self.file(file).at = At::Used;
                Call::Settle { file }
            }
            Call::Settle { file } => {
                self.file(file).at = At::Done;
                Call::Ended
            }
        })
    }

    /// What has become of a reservation, once it is decided: it was handed over, or it is gone.
    fn try_wait(&mut self, file: u8) -> Option<Call> {
        let disposable = self.file(file);
        match disposable.at {
            At::Claimed if !disposable.awake => None,
            // What the hypervisor says is looked at, as for one that waited.
            At::Claimed if disposable.domain == Domain::Running => {
                disposable.handed_out += 1;
                Some(Call::Use { file })
            }
            At::Claimed => Some(Call::Settle { file }),
            _ => Some(Call::Ended),
        }
    }
}
