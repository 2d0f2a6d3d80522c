//! What the tests of the keeper look at, and a stand-in for qmemman.

use crate::common::{self, Site, qube};
use admin::{QubeClass, QubeLine};
use disposable::queue::{Place, Queue};
use fixture::{LIMIT, eventually};
use names::QubeName;
use os::process::ProcessId;
use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub(crate) const TEMPLATE: &str = "default-dvm";

pub(crate) fn set(site: &Site, name: &str, feature: &str, value: &str) {
    site.admin().feature_set(&qube(name), feature, value).unwrap();
}

pub(crate) fn max(site: &Site, count: usize) {
    set(site, TEMPLATE, "preload-dispvm-delay", "0");
    set(site, TEMPLATE, "preload-dispvm-max", &count.to_string());
}

pub(crate) fn queue_of(site: &Site, template: &str) -> Option<Queue> {
    Queue::open(&site.layout.queue(), &template.parse().unwrap(), Duration::from_secs(10)).unwrap()
}

pub(crate) fn queue(site: &Site) -> Queue {
    let mut queue = None;
    eventually("there is a queue", || {
        queue = queue_of(site, TEMPLATE);
        queue.is_some()
    });
    queue.unwrap()
}

pub(crate) fn waiting(site: &Site, template: &str) -> Vec<QubeName> {
    let Some(queue) = queue_of(site, template) else { return Vec::new() };
    // Its directories may just be being made.
    queue
        .list(Place::Ready)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|listed| listed.entry)
        .map(|entry| entry.name)
        .collect()
}

pub(crate) fn disposables(site: &Site) -> Vec<QubeLine> {
    site.admin().list().unwrap().into_iter().filter(|line| line.class == QubeClass::DispVM).collect()
}

pub(crate) fn is_there(site: &Site, name: &QubeName) -> bool {
    disposables(site).iter().any(|line| line.name == *name)
}

pub(crate) fn cause_of_failure(site: &Site) -> String {
    let mut cause = String::new();
    eventually("a start has failed", || {
        cause = queue(site).last_failure().unwrap().map(|failure| failure.cause).unwrap_or_default();
        !cause.is_empty()
    });
    cause
}

/// Another process than this and the keeper; it has died.
pub(crate) fn dead() -> ProcessId {
    ProcessId { pid: 4_000_000, start: 1 }
}

pub(crate) fn keeper(site: &Site) -> i32 {
    let mut found = None;
    eventually("a keeper runs", || {
        found = common::processes_with(&site.layout.state().to_string_lossy()).into_iter().find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).next().is_some_and(|word| word.ends_with(b"preload-dispvm"))
        });
        found.is_some()
    });
    found.unwrap()
}

pub(crate) fn signal(pid: i32, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap().success());
}

/// Adds a line to dispvm.toml, before the host starts or while it runs.
pub(crate) fn configure(layout: &qubes_host::Layout, line: &str) {
    let path = layout.dispvm_config();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let old = fs::read_to_string(&path).unwrap_or_default();
    fs::write(path, format!("{old}{line}\n")).unwrap();
}

/// Where a stand-in for qmemman listens: a short path, outside of what the host clears at its start.
pub(crate) struct Qmemman {
    _directory: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Qmemman {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { path: directory.path().join("qmemman.sock"), _directory: directory }
    }

    pub(crate) fn line(&self) -> String {
        format!("qmemman-socket = \"{}\"", self.path.display())
    }

    /// The next that asks, and what it asks; it gets no answer as long as the connection is kept.
    pub(crate) fn asked(&self, listener: &UnixListener) -> (UnixStream, String) {
        listener.set_nonblocking(true).unwrap();
        let mut stream = None;
        eventually("qmemman is asked", || {
            stream = listener.accept().ok().map(|(stream, _)| stream);
            stream.is_some()
        });
        let mut stream = stream.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut request = [0; 64];
        let length = stream.read(&mut request).unwrap();
        (stream, String::from_utf8(request[..length].to_vec()).unwrap())
    }
}
