//! The keeper, one system call a step.

use super::{At, Disposable, Domain, KEEPER, MAX, State};

/// The next system call of the keeper, which makes disposable 1, throws disposable 0 out, and destroys what is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Keeper {
    Recover,
    LockReserve,
    Reserve,
    UnlockReserve,
    Create,
    LockNote,
    Note,
    UnlockNote,
    Start,
    LockNoteStarted,
    NoteStarted,
    UnlockNoteStarted {
        reserved: bool,
    },
    Pause,
    LockEnqueue,
    ReadCounters,
    RenameReady {
        head: u8,
        tail: u8,
    },
    WriteCounters {
        head: u8,
        tail: u8,
    },
    UnlockEnqueue {
        reserved: bool,
    },
    /// Reserved while it was being paused.
    Standing,
    Unpause,
    LockHandOver,
    HandOver,
    UnlockHandOver,
    /// Its reservation was taken away.
    LockAbandon,
    Abandon,
    UnlockAbandon,
    EndMade,
    LockDiscard {
        file: u8,
    },
    Discard {
        file: u8,
    },
    UnlockDiscard,
    Look,
    Destroy {
        file: u8,
    },
    Forget {
        file: u8,
    },
    Ended,
}

impl State {
    pub(super) fn keep(&mut self, locked: bool) -> Option<Keeper> {
        let taken = |state: &mut Self, then: Keeper| state.take_lock(KEEPER, locked).then_some(then);
        Some(match self.keeper {
            Keeper::Recover => {
                // What it does under one lock and before it is trusted is one step here.
                self.take_lock(KEEPER, locked).then_some(())?;
                for number in 0..4 {
                    if self.ready(number).is_some() {
                        self.head = self.head.min(number);
                        self.tail = self.tail.max(number + 1);
                    }
                }
                self.unlock(KEEPER);
                let made = self.file(1);
                if !made.noted && made.domain == Domain::Halted {
                    made.domain = Domain::None;
                }
                Keeper::LockDiscard { file: 0 }
            }
            Keeper::LockReserve => taken(self, Keeper::Reserve)?,
            Keeper::Reserve => {
                let waits = |at: At| matches!(at, At::Starting | At::Ready(_));
                let waiting = self.disposables.iter().filter(|disposable| waits(disposable.at)).count();
                if waiting < MAX {
                    self.file(1).at = At::Starting;
                }
                Keeper::UnlockReserve
            }
            Keeper::UnlockReserve => {
                self.unlock(KEEPER);
                if self.file(1).at == At::Starting { Keeper::Create } else { Keeper::LockDiscard { file: 0 } }
            }
            Keeper::Create => {
                self.file(1).domain = Domain::Halted;
                Keeper::LockNote
            }
            Keeper::LockNote => taken(self, Keeper::Note)?,
            Keeper::Note => {
                if self.note().is_none() {
                    self.unlock(KEEPER);
                    return Some(Keeper::LockAbandon);
                }
                Keeper::UnlockNote
            }
            Keeper::UnlockNote => {
                self.unlock(KEEPER);
                Keeper::Start
            }
            Keeper::Start => {
                self.file(1).domain = Domain::Running;
                Keeper::LockNoteStarted
            }
            Keeper::LockNoteStarted => taken(self, Keeper::NoteStarted)?,
            Keeper::NoteStarted => {
                let Some(reserved) = self.note() else {
                    self.unlock(KEEPER);
                    return Some(Keeper::LockAbandon);
                };
                Keeper::UnlockNoteStarted { reserved }
            }
            Keeper::UnlockNoteStarted { reserved } => {
                self.unlock(KEEPER);
                if reserved { Keeper::LockHandOver } else { Keeper::Pause }
            }
            Keeper::Pause => {
                self.file(1).domain = Domain::Paused;
                Keeper::LockEnqueue
            }
            Keeper::LockEnqueue => taken(self, Keeper::ReadCounters)?,
            Keeper::ReadCounters => {
                let (head, mut tail) = (self.head, self.tail);
                while self.ready(tail).is_some() {
                    tail += 1;
                }
                Keeper::RenameReady { head, tail }
            }
            Keeper::RenameReady { head, tail } if self.disposables[1].at == At::Starting => {
                self.file(1).at = At::Ready(tail);
                Keeper::WriteCounters { head, tail: tail + 1 }
            }
            Keeper::RenameReady { .. } => Keeper::UnlockEnqueue { reserved: true },
            Keeper::WriteCounters { head, tail } => {
                (self.head, self.tail) = (head, tail);
                Keeper::UnlockEnqueue { reserved: false }
            }
            Keeper::UnlockEnqueue { reserved } => {
                self.unlock(KEEPER);
                if reserved { Keeper::Standing } else { Keeper::LockDiscard { file: 0 } }
            }
            Keeper::Standing => {
                if self.file(1).at == At::Claimed {
                    Keeper::Unpause
                } else {
                    Keeper::LockAbandon
                }
            }
            Keeper::Unpause => {
                self.file(1).domain = Domain::Running;
                Keeper::LockHandOver
            }
            Keeper::LockHandOver => taken(self, Keeper::HandOver)?,
            Keeper::HandOver => {
                if self.file(1).at != At::Claimed {
                    self.unlock(KEEPER);
                    return Some(Keeper::LockAbandon);
                }
                self.file(1).awake = true;
                Keeper::UnlockHandOver
            }
            Keeper::UnlockHandOver => {
                self.unlock(KEEPER);
                Keeper::LockDiscard { file: 0 }
            }
            Keeper::LockAbandon => taken(self, Keeper::Abandon)?,
            Keeper::Abandon => {
                if matches!(self.file(1).at, At::Starting | At::Claimed) {
                    self.file(1).at = At::Done;
                }
                Keeper::UnlockAbandon
            }
            Keeper::UnlockAbandon => {
                self.unlock(KEEPER);
                Keeper::EndMade
            }
            Keeper::EndMade => {
                self.file(1).domain = Domain::None;
                Keeper::LockDiscard { file: 0 }
            }
            Keeper::LockDiscard { file } => taken(self, Keeper::Discard { file })?,
            Keeper::Discard { file } => {
                // Seen in ready/ before the lock was had: it may be gone by now, and then the rename fails.
                if matches!(self.file(file).at, At::Ready(_)) {
                    self.file(file).at = At::Done;
                }
                Keeper::UnlockDiscard
            }
            Keeper::UnlockDiscard => {
                self.unlock(KEEPER);
                Keeper::Look
            }
            Keeper::Look => {
                let restarted = self.restarted;
                let over = |state: &Self, disposable: &Disposable| match disposable.at {
                    At::Done => true,
                    At::Claimed | At::Used => disposable.claimer.is_none_or(|claimer| !state.lives(claimer)),
                    At::Starting => restarted,
                    At::Ready(_) | At::Nowhere => false,
                };
                let touched = |it: &Disposable| it.claimer.is_some() && matches!(it.at, At::Ready(_));
                if let Some(file) = self.disposables.iter().position(touched) {
                    return Some(Keeper::LockDiscard { file: u8::try_from(file).unwrap() });
                }
                match self.disposables.iter().position(|disposable| over(self, disposable)) {
                    Some(file) => Keeper::Destroy { file: u8::try_from(file).unwrap() },
                    // It looks again as long as calls live.
                    None if self.lives(0) || self.lives(1) => return None,
                    None => Keeper::Ended,
                }
            }
            Keeper::Destroy { file } => {
                self.file(file).domain = Domain::None;
                Keeper::Forget { file }
            }
            Keeper::Forget { file } => {
                self.file(file).at = At::Nowhere;
                Keeper::Look
            }
            Keeper::Ended => return None,
        })
    }

    /// Notes what is being made, whether it waits or is reserved; `None` when its reservation was taken away. The file is
    /// replaced: what a call that died had appended to the old one is lost with it.
    fn note(&mut self) -> Option<bool> {
        let made = self.file(1);
        match made.at {
            At::Starting => made.claimer = None,
            At::Claimed => {}
            _ => return None,
        }
        made.noted = true;
        Some(made.at == At::Claimed)
    }
}
