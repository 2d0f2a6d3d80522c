//! The protocol, one system call a step.

/// Where a file lies; `Ready` has its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum At {
    Nowhere,
    Starting,
    Ready(u8),
    Claimed,
    Used,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Domain {
    None,
    Halted,
    Running,
    Paused,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Disposable {
    at: At,
    noted: bool,
    /// Who appended a claimer line first; a reader believes that one.
    claimer: Option<u8>,
    domain: Domain,
    handed_out: u8,
}

/// The next system call of a call: names as in `queue/claim.rs` and `wake.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Call {
    Lock,
    ReadCounters,
    Open { head: u8, tail: u8 },
    Append { head: u8, tail: u8, file: u8 },
    Rename { head: u8, tail: u8, file: u8 },
    DiscardTouched { head: u8, tail: u8, file: u8 },
    WriteCounters { head: u8, tail: u8, file: Option<u8> },
    Unlock { file: Option<u8> },
    Wake { file: u8 },
    Use { file: u8 },
    Settle { file: u8 },
    Ended,
    Dead,
}

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
    Pause,
    LockEnqueue,
    ReadCounters,
    RenameReady { head: u8, tail: u8 },
    WriteCounters { head: u8, tail: u8 },
    UnlockEnqueue,
    LockDiscard { file: u8 },
    Discard { file: u8 },
    UnlockDiscard,
    Look,
    Destroy { file: u8 },
    Forget { file: u8 },
    Ended,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    lock: Option<u8>,
    head: u8,
    tail: u8,
    disposables: [Disposable; 2],
    calls: [Call; 2],
    keeper: Keeper,
    /// Whether what the keeper has begun was begun by an earlier one.
    restarted: bool,
}

pub(crate) const KEEPER: u8 = 2;
const MAX: usize = 2;

impl State {
    pub(crate) fn first() -> Self {
        let waiting = Disposable {
            at: At::Ready(0),
            noted: true,
            claimer: None,
            domain: Domain::Paused,
            handed_out: 0,
        };
        let none = Disposable { at: At::Nowhere, noted: false, domain: Domain::None, ..waiting };
        Self {
            lock: None,
            head: 0,
            tail: 1,
            disposables: [waiting, none],
            calls: [Call::Lock; 2],
            keeper: Keeper::LockReserve,
            restarted: false,
        }
    }

    fn file(&mut self, file: u8) -> &mut Disposable {
        &mut self.disposables[usize::from(file)]
    }

    fn ready(&self, number: u8) -> Option<u8> {
        let position = self.disposables.iter().position(|disposable| disposable.at == At::Ready(number));
        position.map(|file| u8::try_from(file).unwrap())
    }

    fn lives(&self, process: u8) -> bool {
        self.calls.get(usize::from(process)).is_some_and(|call| !matches!(call, Call::Ended | Call::Dead))
    }

    /// Takes the lock; `false` while somebody else has it.
    fn take_lock(&mut self, process: u8, locked: bool) -> bool {
        if !locked {
            return true;
        }
        let free = self.lock.is_none();
        self.lock = self.lock.or(Some(process));
        free
    }

    fn unlock(&mut self, process: u8) {
        if self.lock == Some(process) {
            self.lock = None;
        }
    }

    /// What follows when this process makes its next system call; `None` when it cannot.
    pub(crate) fn step(&self, process: u8, locked: bool) -> Option<Self> {
        let mut next = self.clone();
        if process == KEEPER {
            next.keeper = next.keep(locked)?;
        } else {
            next.calls[usize::from(process)] = next.call(process, locked)?;
        }
        Some(next)
    }

    fn call(&mut self, process: u8, locked: bool) -> Option<Call> {
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
                Call::Unlock { file }
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

    fn keep(&mut self, locked: bool) -> Option<Keeper> {
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
                self.file(1).noted = true;
                Keeper::UnlockNote
            }
            Keeper::UnlockNote => {
                self.unlock(KEEPER);
                Keeper::Start
            }
            Keeper::Start => {
                self.file(1).domain = Domain::Running;
                Keeper::Pause
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
            Keeper::RenameReady { head, tail } => {
                self.file(1).at = At::Ready(tail);
                Keeper::WriteCounters { head, tail: tail + 1 }
            }
            Keeper::WriteCounters { head, tail } => {
                (self.head, self.tail) = (head, tail);
                Keeper::UnlockEnqueue
            }
            Keeper::UnlockEnqueue => {
                self.unlock(KEEPER);
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

    /// SIGKILL: the kernel frees the lock. A keeper has a successor.
    pub(crate) fn kill(&self, process: u8) -> Option<Self> {
        let mut next = self.clone();
        if process == KEEPER {
            if self.restarted || self.keeper == Keeper::Ended {
                return None;
            }
            next.keeper = Keeper::Recover;
            next.restarted = true;
        } else {
            self.lives(process).then_some(())?;
            next.calls[usize::from(process)] = Call::Dead;
        }
        next.unlock(process);
        Some(next)
    }

    /// What is wrong, if anything is.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        for (file, disposable) in (0u8..).zip(&self.disposables) {
            if disposable.handed_out > 1 {
                return Some("P1: handed out twice");
            }
            if disposable.handed_out > 0 && matches!(disposable.at, At::Ready(_)) {
                return Some("P2: back in the queue");
            }
            let owner =
                self.calls.iter().any(|call| matches!(call, Call::Use { file: used } if *used == file));
            if owner && disposable.domain != Domain::Running {
                return Some("a living call's disposable is destroyed");
            }
        }
        let waiting =
            self.disposables.iter().filter(|disposable| matches!(disposable.at, At::Starting | At::Ready(_)));
        if waiting.count() > MAX {
            return Some("P4: more than the maximum wait");
        }
        if self.keeper == Keeper::Ended {
            for disposable in &self.disposables {
                let waits =
                    matches!(disposable.at, At::Ready(number) if (self.head..self.tail).contains(&number));
                let good = waits && disposable.domain == Domain::Paused && disposable.claimer.is_none();
                if !good && (disposable.at != At::Nowhere || disposable.domain != Domain::None) {
                    return Some("P5: something is left, or lost");
                }
            }
        }
        None
    }
}
