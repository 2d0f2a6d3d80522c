//! The configuration file, `/etc/qubes/dispvm.toml`.

use crate::error::CallError;
use hypervisor::Machine;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// Where the file is unless `QUBES_DISPVM_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/qubes/dispvm.toml";

/// All settings. Every key is optional; an unknown key is an error, so that a typing mistake is not silently a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `queue`: the queue's directory; on tmpfs in dom0.
    pub queue: PathBuf,
    /// `qubesd-socket`: Admin API.
    pub qubesd_socket: PathBuf,
    /// `qubesd-internal-socket`: internal.GetSystemInfo.
    pub qubesd_internal_socket: PathBuf,
    /// `qrexec-socket-directory`: sockets of the qrexec daemons.
    pub qrexec_sockets: PathBuf,
    /// `vchan-directory`: `/dev/xen`, the default, for libxenvchan; else where the sockets of the socket transport are.
    pub vchan_directory: PathBuf,
    /// `domains`: `/proc/xen`, the default, for Xen; else the registry of the local hypervisor.
    pub domains: PathBuf,
    /// `qmemman-socket`: where memory is squeezed out of a disposable before its pause; not there: Xen is asked.
    pub qmemman_socket: PathBuf,
    /// `available-memory`: qmemman's file of free memory; not there: no limit by memory.
    pub available_memory: PathBuf,
    /// `calls-per-source`: how many calls of one qube may be served at the same time; default 16, 0 for any number.
    pub calls_per_source: usize,
    /// `calls-per-source-minute`: how many calls of one qube may begin within a minute; default 300, 0 for any number.
    pub calls_per_source_minute: usize,
    /// `chain-depth`: how many disposables may be opened each from the one before; default 4, 0 for any number.
    pub chain_depth: usize,
    /// `story`: socket to which steps are reported; none by default.
    pub story: Option<PathBuf>,
    /// `tag-choice`: `refuse` (default) or `ready-first`, when a tag names several templates (promise P8).
    pub tag_choice: TagChoice,
    /// `lock-wait-ms`: how long a claim waits for the queue's lock before it starts cold; default 200.
    pub lock_wait: Duration,
    /// `parallel-starts`: how many disposables the keeper starts at the same time; default 2.
    pub parallel_starts: usize,
    /// `start-timeout-s`: how long a disposable may take to start and to pass its health check; default 60.
    pub start_timeout: Duration,
}

/// What to do when a tag names several templates and none is the caller's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagChoice {
    /// Refuse rather than guess.
    Refuse,
    /// The first in the order of names that has a disposable ready.
    ReadyFirst,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: "/run/qubes/dispvm".into(),
            qubesd_socket: "/run/qubesd.sock".into(),
            qubesd_internal_socket: "/run/qubesd.internal.sock".into(),
            qrexec_sockets: "/run/qubes".into(),
            vchan_directory: "/dev/xen".into(),
            domains: Machine::XEN.into(),
            qmemman_socket: "/run/qubes/qmemman.sock".into(),
            available_memory: "/run/qubes/qmemman-avail-mem".into(),
            calls_per_source: 16,
            calls_per_source_minute: 300,
            chain_depth: 4,
            story: None,
            tag_choice: TagChoice::Refuse,
            lock_wait: Duration::from_millis(200),
            parallel_starts: 2,
            start_timeout: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Reads the file that `QUBES_DISPVM_CONFIG` names, or the default one; a missing default file means defaults.
    ///
    /// # Errors
    /// The file is named but missing, is unreadable, is no TOML, has an unknown key or a bad value.
    pub fn load() -> Result<Self, CallError> {
        match std::env::var_os("QUBES_DISPVM_CONFIG") {
            Some(path) => Self::read(Path::new(&path)),
            None if Path::new(DEFAULT_PATH).exists() => Self::read(Path::new(DEFAULT_PATH)),
            None => Ok(Self::default()),
        }
    }

    /// Reads one file.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn read(path: &Path) -> Result<Self, CallError> {
        let failed = |cause: String| {
            CallError::trouble("read the configuration", path.display(), cause)
                .remedy("correct the file; docs/dispvm.toml.md lists every key")
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::parse(&text).map_err(failed)
    }

    /// Parses the text of a configuration file. Pure.
    ///
    /// # Errors
    /// One sentence that names the key or the place in the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ")
        })?;
        let mut config = Self::default();
        for (key, value) in &table {
            config.set(key, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "queue" => self.queue = path(key, value)?,
            "qubesd-socket" => self.qubesd_socket = path(key, value)?,
            "qubesd-internal-socket" => self.qubesd_internal_socket = path(key, value)?,
            "qrexec-socket-directory" => self.qrexec_sockets = path(key, value)?,
            "vchan-directory" => self.vchan_directory = path(key, value)?,
            "domains" => self.domains = path(key, value)?,
            "qmemman-socket" => self.qmemman_socket = path(key, value)?,
            "available-memory" => self.available_memory = path(key, value)?,
            "calls-per-source" => self.calls_per_source = count(key, value)?,
            "calls-per-source-minute" => self.calls_per_source_minute = count(key, value)?,
            "chain-depth" => self.chain_depth = count(key, value)?,
            "story" => self.story = Some(path(key, value)?),
            "tag-choice" => {
                self.tag_choice = match value.as_str() {
                    Some("refuse") => TagChoice::Refuse,
                    Some("ready-first") => TagChoice::ReadyFirst,
                    _ => return Err("tag-choice: \"refuse\" or \"ready-first\"".into()),
                }
            }
            "lock-wait-ms" => self.lock_wait = Duration::from_millis(number(key, value, 60_000)?),
            "start-timeout-s" => self.start_timeout = Duration::from_secs(number(key, value, 3600)?),
            "parallel-starts" => self.parallel_starts = usize::try_from(number(key, value, 64)?).unwrap_or(1),
            _ => return Err(format!("unknown key \"{key}\"")),
        }
        Ok(())
    }
}

fn path(key: &str, value: &Value) -> Result<PathBuf, String> {
    match value.as_str() {
        Some(text) if text.starts_with('/') => Ok(text.into()),
        _ => Err(format!("{key}: an absolute path in quotes")),
    }
}

fn number(key: &str, value: &Value, most: u64) -> Result<u64, String> {
    match value.as_integer().and_then(|number| u64::try_from(number).ok()) {
        Some(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{key}: a whole number from 1 to {most}")),
    }
}

fn count(key: &str, value: &Value) -> Result<usize, String> {
    if value.as_integer() == Some(0) {
        return Ok(0);
    }
    number(key, value, 1000)
        .map_err(|_| format!("{key}: a whole number from 0 to 1000"))?
        .try_into()
        .map_err(|_| key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_bad_values_are_refused_by_name() {
        for (text, word) in [
            ("quue = \"/x\"", "quue"),
            ("queue = 3", "queue"),
            ("queue = \"x\"", "queue"),
            ("tag-choice = \"first\"", "tag-choice"),
            ("lock-wait-ms = 0", "lock-wait-ms"),
            ("parallel-starts = 65", "parallel-starts"),
            ("calls-per-source = -1", "calls-per-source"),
            ("chain-depth = 1001", "chain-depth"),
            ("queue =", "line 1"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(Config::parse("").unwrap(), Config::default());
        let config = Config::parse("queue = \"/q\"\nlock-wait-ms = 5\ntag-choice = \"ready-first\"").unwrap();
        assert_eq!(config.queue, Path::new("/q"));
        assert_eq!(config.tag_choice, TagChoice::ReadyFirst);
    }
}
