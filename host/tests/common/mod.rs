//! A host for a test: real processes and sockets in a directory of its own, stopped with the test.
#![allow(dead_code, reason = "each test file uses a part")]

use admin::protocol::Event;
use admin::{AdminError, Client, ErrorClass};
use names::{QubeName, QubeRef};
use qubes_host::{Host, HostConfig, Layout};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// The executable under test.
pub(crate) const EXECUTABLE: &str = env!("CARGO_BIN_EXE_qubes-host");

pub(crate) use fixture::LIMIT;

/// A host with its directory.
pub(crate) struct Site {
    pub(crate) host: Host,
    pub(crate) layout: Layout,
    pub(crate) story: UnixDatagram,
    _directory: tempfile::TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut HostConfig)) -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        // As long as a state directory may be.
        let state = directory.path().join("s".repeat(150));
        let (host, layout, story) = start(&state, change);
        Self { host, layout, story, _directory: directory }
    }

    pub(crate) fn admin(&self) -> Client {
        Client::new(self.layout.qubesd_socket())
    }

    /// Sends bytes to the Admin API and returns all that comes back.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        exchange(&self.layout.qubesd_socket(), bytes)
    }

    /// The class of the refusal of a question by dom0.
    pub(crate) fn refusal(&self, method: &str, arg: &str, dest: &str, payload: &[u8]) -> ErrorClass {
        match self.admin().call(method, arg, dest, payload) {
            Err(AdminError::Refused { class, .. }) => class,
            other => panic!("{method}+{arg} on {dest}: {other:?}"),
        }
    }

    /// The text that a question by dom0 is answered with.
    pub(crate) fn text(&self, method: &str, arg: &str, dest: &str, payload: &[u8]) -> String {
        String::from_utf8(self.admin().call(method, arg, dest, payload).unwrap()).unwrap()
    }

    /// The next step of the story with this name.
    pub(crate) fn step(&self, step: &str) -> trace::Event {
        self.story.set_read_timeout(Some(LIMIT)).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = self.story.recv(&mut buffer).unwrap();
            let event = trace::Event::from_json(&buffer[..length]).unwrap();
            if event.step == step {
                return event;
            }
        }
    }
}

/// Starts a host in a state directory.
pub(crate) fn start(state: &Path, change: impl FnOnce(&mut HostConfig)) -> (Host, Layout, UnixDatagram) {
    let layout = Layout::new(state);
    layout.create().unwrap();
    let story = os::socket::bind_datagram(&layout.story_socket()).unwrap();
    let mut config = HostConfig::new(layout.clone(), PathBuf::from(EXECUTABLE));
    config.story = Some(layout.story_socket());
    change(&mut config);
    (Host::start(config).unwrap(), layout, story)
}

/// Sends bytes, shuts writing down and returns all that comes back.
pub(crate) fn exchange(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = os::socket::connect(socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The other side may close before it has read all.
    if stream.write_all(bytes).is_ok() {
        drop(stream.shutdown(Shutdown::Write));
    }
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    answer
}

pub(crate) fn qube(name: &str) -> QubeRef {
    QubeRef::Name(name.parse::<QubeName>().unwrap())
}

/// Pids of processes that have `text` in their command line or environment.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let holds = |path: String| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = i32::try_from(std::process::id()).unwrap();
    pids.filter(|pid| *pid != own && os::process::Stat::read(*pid).is_some_and(|stat| stat.state != 'Z'))
        .filter(|pid| holds(format!("/proc/{pid}/cmdline")) || holds(format!("/proc/{pid}/environ")))
        .collect()
}

/// All processes below one, whatever they are called; with namespaces their pids are those of our own.
pub(crate) fn descendants(of: i32) -> Vec<os::process::ProcessId> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let all: Vec<(i32, os::process::Stat)> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, os::process::Stat::read(pid)?)))
        .collect();
    let (mut found, mut next) = (Vec::new(), vec![of]);
    while let Some(parent) = next.pop() {
        for (pid, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            found.push(os::process::ProcessId { pid: *pid, start: stat.start });
            next.push(*pid);
        }
    }
    found
}

/// Events as `SUBJECT NAME`.
pub(crate) fn short(event: &Event) -> String {
    format!("{} {}", event.subject, event.name)
}
