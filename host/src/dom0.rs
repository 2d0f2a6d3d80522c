//! What all parts of a host share.

use crate::config::HostConfig;
use crate::events::EventHub;
use crate::layout::Layout;
use crate::life::{Lives, Removals};
use crate::store::{Refusal, Store, system_info};
use crate::xen::Domains;
use hypervisor::local::Local;
use names::Uuid;
use policy::{Call, Decision, Options, Policy, PolicyCache, SystemInfo};
use rand::{Rng, RngCore};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use trace::Reporter;

/// The embedded dom0.
#[derive(Debug)]
pub(crate) struct Dom0 {
    pub(crate) config: HostConfig,
    pub(crate) events: EventHub,
    pub(crate) reporter: Reporter,
    state: Mutex<State>,
    /// A qube's state has changed.
    moved: Condvar,
    saving: Mutex<()>,
    policy: Mutex<PolicyCache>,
    pub(crate) removals: Removals,
    pub(crate) local: Local,
    /// The domains, where qubes are domains of Xen.
    pub(crate) xen: Option<Domains>,
}

/// What changes while a host runs.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) lives: Lives,
    info: Option<Arc<Info>>,
}

/// What policy decisions need to know, as of some moment.
#[derive(Debug)]
pub(crate) struct Info {
    revision: u64,
    pub(crate) system: SystemInfo,
    json: OnceLock<Vec<u8>>,
}

impl Info {
    /// The answer to `internal.GetSystemInfo`.
    pub(crate) fn json(&self) -> &[u8] {
        self.json.get_or_init(|| self.system.to_json())
    }
}

impl Dom0 {
    pub(crate) fn new(
        config: HostConfig,
        store: Store,
        lives: Lives,
        removals: Removals,
        local: Local,
        xen: Option<Domains>,
    ) -> Self {
        let layout = &config.layout;
        let policy = PolicyCache::new(vec![layout.runtime_policy(), layout.policy()]);
        Self {
            events: EventHub::default(),
            reporter: Reporter::to(config.story.as_deref()),
            state: Mutex::new(State { store, lives, info: None }),
            moved: Condvar::new(),
            saving: Mutex::new(()),
            policy: Mutex::new(policy),
            removals,
            local,
            xen,
            config,
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.config.layout
    }

    /// Looks at the store.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.lock().store)
    }

    /// Looks at the qubes' lives as well.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the store. What happened is published in the order in which it happened, also when the change failed
    /// half-way; what belongs into the file is written before this returns.
    ///
    /// # Errors
    /// Those of the change; or the change was made, but could not be saved.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut Store) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let (result, unsaved) = {
            let mut state = self.lock();
            let result = change(&mut state.store);
            self.publish(&mut state);
            (result, state.store.take_unsaved())
        };
        let value = result?;
        if unsaved {
            self.save().map_err(|error| {
                log::error!("{}: {error}", self.layout().qubes_file().display());
                Refusal::general(format!("changed, but not saved: {error}"))
            })?;
        }
        Ok(value)
    }

    /// Changes the store and the qubes' lives together. Never saves: nothing that starts or ends is in the file.
    pub(crate) fn with_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        self.publish(&mut state);
        result
    }

    /// Waits until `look` gives a value; `None` when the time is over first.
    pub(crate) fn wait_for<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(value) = look(&mut state) {
                self.publish(&mut state);
                return Some(value);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What policy decisions need to know; made anew only when something of it has changed.
    pub(crate) fn system_info(&self) -> Arc<Info> {
        let mut state = self.lock();
        let revision = state.store.info_revision();
        if let Some(info) = state.info.as_ref().filter(|info| info.revision == revision) {
            return info.clone();
        }
        let info = Arc::new(Info { revision, system: system_info(&state.store), json: OnceLock::new() });
        state.info = Some(info.clone());
        info
    }

    /// Decides a call by the policy as its files are now.
    pub(crate) fn evaluate(&self, call: &Call<'_>, system: &SystemInfo, options: Options) -> Decision {
        let loaded: Result<Arc<Policy>, Decision> = {
            let mut cache = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
            cache.policy().map_err(|_| cache.evaluate(call, system, options))
        };
        match loaded {
            Ok(policy) => policy.evaluate(call, system, options),
            Err(denied) => denied,
        }
    }

    /// Writes the file of the qubes, whole and by rename.
    pub(crate) fn save(&self) -> io::Result<()> {
        let _one_at_a_time = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken after the lock, so that the last to write writes the latest.
        let text = self.read(Store::to_text);
        replace(&self.layout().qubes_file(), text.as_bytes())
    }

    fn publish(&self, state: &mut State) {
        let events = state.store.take_events();
        if !events.is_empty() {
            self.events.publish(&events);
        }
        self.moved.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a file so that others see the old one or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("toml.new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// A random UUID.
pub(crate) fn random_uuid() -> Uuid {
    let mut bytes = [0u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    Uuid::from_random(bytes)
}

/// A random number of a disposable.
pub(crate) fn random_dispid() -> u16 {
    rand::rng().random_range(0..crate::dispid::COUNT)
}

/// Seconds of a clock that is never set.
pub(crate) fn monotonic_seconds() -> u64 {
    os::monotonic_ns() / 1_000_000_000
}
