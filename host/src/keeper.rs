//! Keeps the keeper of the queue running.

use crate::dom0::Dom0;
use crate::life::{environment, open_log};
use crate::process::Process;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const NAME: &str = "preload-dispvm";
/// A keeper that lived this long has done its work: the next one is started without a long wait.
const GOOD_LIFE: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// It ends disposables that wait before it ends itself.
const GRACE: Duration = Duration::from_secs(10);

/// The keeper's process, and its successors'.
#[derive(Debug)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    process: Option<Arc<Process>>,
    ended: bool,
    stopping: bool,
}

impl Keeper {
    /// Starts it. Should it end by itself, another follows, after a wait that grows with each short life.
    ///
    /// # Errors
    /// The first one cannot be started.
    pub(crate) fn start(dom0: &Arc<Dom0>) -> io::Result<Arc<Self>> {
        let keeper = Arc::new(Self { state: Mutex::new(State::default()), changed: Condvar::new() });
        keeper.begin(dom0)?;
        let (watched, dom0) = (keeper.clone(), dom0.clone());
        thread::Builder::new().name("keeper".into()).spawn(move || watched.watch(&dom0))?;
        Ok(keeper)
    }

    fn begin(self: &Arc<Self>, dom0: &Arc<Dom0>) -> io::Result<()> {
        let log = open_log(&dom0.layout().log().join(format!("{NAME}.log")))?;
        let mut command = Command::new(dom0.config.program("usr/lib/qubes-dispvm/preload-dispvm"));
        command.arg0(NAME);
        environment(dom0, &mut command);
        command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
        let keeper = self.clone();
        let process = Process::start(command, dom0.layout().processes().join(NAME), move |status| {
            let mut state = keeper.lock();
            if !state.stopping {
                log::warn!("{NAME} ended by itself: {status}");
            }
            state.ended = true;
            keeper.changed.notify_all();
        })?;
        self.lock().process = Some(process);
        Ok(())
    }

    fn watch(self: &Arc<Self>, dom0: &Arc<Dom0>) {
        let mut pause = SHORTEST_WAIT;
        loop {
            let begun = Instant::now();
            let mut state = self.lock();
            while !state.ended && !state.stopping {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            pause = if begun.elapsed() >= GOOD_LIFE { SHORTEST_WAIT } else { (pause * 2).min(LONGEST_WAIT) };
            let until = Instant::now() + pause;
            while !state.stopping && Instant::now() < until {
                let left = until.saturating_duration_since(Instant::now());
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if state.stopping {
                return;
            }
            state.ended = false;
            drop(state);
            if let Err(error) = self.begin(dom0) {
                log::error!("{NAME} cannot be started: {error}");
                self.lock().ended = true;
            }
        }
    }

    /// Ends it for good.
    pub(crate) fn stop(&self) {
        let process = {
            let mut state = self.lock();
            state.stopping = true;
            self.changed.notify_all();
            state.process.take()
        };
        if let Some(process) = process {
            process.end(GRACE);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
