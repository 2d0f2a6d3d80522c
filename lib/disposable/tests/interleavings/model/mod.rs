//! The protocol, one system call a step.

mod call;
mod keeper;

use call::Call;
use keeper::Keeper;

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
    /// Whether the keeper has handed it over running.
    awake: bool,
    handed_out: u8,
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
            awake: false,
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

    /// Whether a call that had reserved it was handed one that was never in the queue.
    pub(crate) fn has_handed_over(&self) -> bool {
        self.disposables.iter().any(|disposable| disposable.awake && disposable.handed_out == 1)
    }

    /// Whether a call has waited long enough while somebody was still making what it had reserved.
    pub(crate) fn gives_up(&self) -> bool {
        self.calls.iter().any(|call| matches!(call, Call::GiveUp { .. }))
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
