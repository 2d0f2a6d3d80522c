//! Programs that want one socket for both directions (spec/qrexec-wire.md 7.6).
//!
//! A program that was started for a call says so with SIGUSR1 to the process in `QREXEC_AGENT_PID`, as those do that hand
//! their standard input to the kernel (USB over IP). Upstream has a process for each call; here one process serves many, so
//! who sent the signal tells which call is meant. Where that cannot be told (the sender is gone, or the kernel made one of two
//! signals) every call may be meant: then the bytes that a program writes to its standard input, which nobody would read
//! otherwise, tell.

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::Signal;
use nix::unistd::getpid;
use os::process::Stat;
use os::signals::Senders;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Hears the wishes of all programs that this process starts.
#[derive(Debug, Clone)]
pub struct Wishes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Readable when there is something to hear.
    watch: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    senders: Senders,
    calls: Vec<Arc<Call>>,
    /// The lines of senders that came while a call's program was being started.
    early: Vec<Vec<i32>>,
}

#[derive(Debug)]
struct Call {
    /// The program's pid; 0 while it is being started.
    program: AtomicI32,
    certainty: AtomicU8,
    bell: EventFd,
}

const NONE: u8 = 0;
const POSSIBLE: u8 = 1;
const CERTAIN: u8 = 2;

impl Wishes {
    /// Takes over SIGUSR1 of this process.
    ///
    /// # Errors
    /// No descriptors are left, or the signal cannot be taken.
    pub fn new() -> io::Result<Self> {
        let senders = Senders::take(Signal::SIGUSR1)?;
        let watch = senders.as_fd().try_clone_to_owned()?;
        let state = State { senders, calls: Vec::new(), early: Vec::new() };
        Ok(Self(Arc::new(Shared { watch, state: Mutex::new(state) })))
    }

    /// Takes in what came, whenever this polls readable.
    pub fn hear(&self) {
        drop(self.0.hear());
    }

    /// To be made before the program of a call is started.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn of_a_call(&self) -> io::Result<Wish> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let call = Arc::new(Call { program: AtomicI32::new(0), certainty: AtomicU8::new(NONE), bell });
        self.0.lock().calls.push(Arc::clone(&call));
        Ok(Wish { shared: Arc::clone(&self.0), call, alone: false })
    }
}

impl AsFd for Wishes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.watch.as_fd()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        for sender in state.senders.pending() {
            let line = line_of(sender);
            for call in &state.calls {
                call.told(if line.contains(&call.program()) { CERTAIN } else { POSSIBLE });
            }
            if state.calls.iter().any(|call| call.program() == 0) {
                state.early.push(line);
            }
        }
        state
    }
}

impl Call {
    fn program(&self) -> i32 {
        self.program.load(Ordering::Acquire)
    }

    fn told(&self, certainty: u8) {
        if self.certainty.fetch_max(certainty, Ordering::AcqRel) < certainty {
            // It is read once; a count at its limit rings as well.
            let _: nix::Result<usize> = self.bell.write(1);
        }
    }
}

/// A process, its parent and so on, up to this one. Nobody, for a sender outside our pid namespace: the kernel calls it 0, and
/// it is not of a program that we have started.
fn line_of(pid: i32) -> Vec<i32> {
    if pid <= 0 {
        return Vec::new();
    }
    let own = getpid().as_raw();
    let mut line = vec![pid];
    while let Some(stat) = line.last().and_then(|&pid| Stat::read(pid)) {
        if stat.parent <= 1 || stat.parent == own || line.contains(&stat.parent) {
            break;
        }
        line.push(stat.parent);
    }
    line
}

/// The wish of one call's program.
#[derive(Debug)]
pub struct Wish {
    shared: Arc<Shared>,
    call: Arc<Call>,
    alone: bool,
}

impl Wish {
    /// The program has been started.
    pub fn program_is(&self, pid: u32) {
        let pid = i32::try_from(pid).unwrap_or(0);
        // What came before counts as well.
        let mut state = self.shared.hear();
        self.call.program.store(pid, Ordering::Release);
        if state.early.iter().any(|line| line.contains(&pid)) {
            self.call.told(CERTAIN);
        }
        if state.calls.iter().all(|call| call.program() != 0) {
            state.early.clear();
        }
    }

    /// For a process that serves one call: whoever serves it hears for it.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Whether the program has said that it wants one socket.
    pub(super) fn is_certain(&self) -> bool {
        self.call.certainty.load(Ordering::Acquire) == CERTAIN
    }

    /// Whether it may have said so.
    pub(super) fn is_possible(&self) -> bool {
        self.call.certainty.load(Ordering::Acquire) != NONE
    }

    /// As [`Self::is_certain`], with all that was sent before this call.
    pub(super) fn is_certain_by_now(&self) -> bool {
        let mut quiet = 0;
        for _ in 0..LONGEST_DELIVERY_MS {
            let is_under_way = self.shared.lock().senders.is_under_way();
            drop(self.shared.hear());
            quiet = if is_under_way { 0 } else { quiet + 1 };
            if self.is_certain() || quiet == QUIET_LOOKS {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.is_certain()
    }

    /// To be called when this polls readable.
    pub(super) fn look(&self) {
        if self.alone {
            drop(self.shared.hear());
        }
        // Empty when somebody else's signal came.
        let _: nix::Result<u64> = self.call.bell.read();
    }
}

impl AsFd for Wish {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.alone { self.shared.watch.as_fd() } else { self.call.bell.as_fd() }
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.calls.retain(|call| !Arc::ptr_eq(call, &self.call));
        if state.calls.iter().all(|call| call.program() != 0) {
            state.early.clear();
        }
    }
}

/// Another thread that has begun to take a signal goes on as soon as it runs.
const LONGEST_DELIVERY_MS: u32 = 1000;
/// Between taking a signal from the kernel and its handler a thread shows in no list, for a microsecond or two.
const QUIET_LOOKS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_without_a_number_here_is_no_program_of_ours() {
        assert_eq!(line_of(0), [0; 0], "0 stands for a program that is being started");
        assert_eq!(line_of(getpid().as_raw()).first(), Some(&getpid().as_raw()));
    }
}
