//! What there is to see: the policy files, the qubes, the queue.

use crate::Failure;
use crate::explain::Readiness;
use crate::options::Question;
use disposable::config::Config;
use disposable::queue::{KeeperLock, Place, Queue};
use names::QubeName;
use policy::{LoadError, Policy, SystemInfo};
use std::cell::OnceCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Looks where a question says.
pub(crate) struct Sight<'q> {
    question: &'q Question,
    config: OnceCell<Config>,
}

impl<'q> Sight<'q> {
    pub(crate) fn new(question: &'q Question) -> Self {
        Self { question, config: OnceCell::new() }
    }

    /// `dispvm.toml`: of the embedded host, else the file that `QUBES_DISPVM_CONFIG` names, else the usual one.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let config = config_of(self.question.state.as_deref())?;
        Ok(self.config.get_or_init(|| config).clone())
    }

    /// The directories of the policy, highest rank first.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        match &self.question.state {
            _ if !self.question.policy_dirs.is_empty() => self.question.policy_dirs.clone(),
            Some(state) => vec![state.join("run/policy.d"), state.join("etc/policy.d")],
            None => vec!["/run/qubes/policy.d".into(), "/etc/qubes/policy.d".into()],
        }
    }

    /// Files that cannot be loaded deny every call, so that is no failure here.
    pub(crate) fn policy(&self) -> Result<Policy, LoadError> {
        Policy::load(&self.directories())
    }

    pub(crate) fn system(&self) -> Result<SystemInfo, Failure> {
        let json = match &self.question.system_info {
            Some(path) => read(path)?,
            None => {
                let config = self.config()?;
                let socket = &config.qubesd_internal_socket;
                admin::Client::new(socket).system_info_json().map_err(|error| {
                    let remedy = match &self.question.state {
                        Some(_) => "is \"qubes-host serve\" running there?",
                        None => "this is for dom0, where \"systemctl status qubesd\" tells more; --system-info FILE asks nobody",
                    };
                    Failure::trouble(format!("cannot learn about the qubes from {}: {error}; {remedy}", socket.display()))
                })?
            }
        };
        SystemInfo::from_json(&json).map_err(Failure::trouble)
    }
}

/// `dispvm.toml` of the embedded host in `state`, or of this dom0.
pub(crate) fn config_of(state: Option<&Path>) -> Result<Config, Failure> {
    let Some(state) = state else { return Config::load().map_err(Failure::trouble) };
    let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
    let path = state.join("etc/qubes/dispvm.toml");
    if !path.exists() {
        return Err(Failure::trouble(format!(
            "cannot read {}: no such file; --state names the directory that \"qubes-host serve --state\" runs in",
            path.display()
        )));
    }
    Config::read(&path).map_err(Failure::trouble)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut json = Vec::new();
    let read = || File::open(path)?.take(SYSTEM_INFO_LIMIT).read_to_end(&mut json);
    match { read }() {
        Ok(_) => Ok(json),
        Err(error) => Err(Failure::trouble(format!("cannot read {}: {error}", path.display()))),
    }
}

/// One byte more than the parser takes, so that the parser says so.
const SYSTEM_INFO_LIMIT: u64 = 16 * 1024 * 1024 + 1;

/// Whether a disposable of this template could be handed out at once.
pub(crate) fn readiness(config: &Config, template: &QubeName) -> Readiness {
    if !KeeperLock::is_held(&config.queue) {
        return Readiness::NoKeeper;
    }
    let look = || {
        let Some(queue) = Queue::open(&config.queue, template, config.lock_wait)? else {
            return Ok(Readiness::Waiting { ready: Vec::new(), stale: 0, starting: 0 });
        };
        let generation = queue.generation()?;
        let entries: Vec<_> =
            queue.list(Place::Ready)?.into_iter().filter_map(|listed| listed.entry).collect();
        let fresh = entries.iter().filter(|entry| entry.generation == generation && entry.claimer.is_none());
        let ready: Vec<String> = fresh.map(|entry| entry.name.to_string()).collect();
        let stale = entries.len() - ready.len();
        Ok(Readiness::Waiting { ready, stale, starting: queue.count(Place::Starting)? })
    };
    look().unwrap_or_else(|error: std::io::Error| Readiness::Unknown(error.to_string()))
}
