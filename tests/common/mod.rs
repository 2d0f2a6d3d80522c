//! A host for a test: real processes, in a directory of its own, ended with the test.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// The executable under test.
pub const HOST: &str = env!("CARGO_BIN_EXE_qubes-host");

pub use fixture::LIMIT;

/// `qubes-host serve` in a temporary state directory.
pub struct Serve {
    pub child: Child,
    pub state: PathBuf,
    /// What it has told, line by line.
    told: Arc<Mutex<Vec<String>>>,
    _directory: Option<tempfile::TempDir>,
}

impl Serve {
    /// Starts it and waits until it says that it is ready.
    pub fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut serve = Self::start_in(&directory.path().join("state"), options);
        serve._directory = Some(directory);
        serve
    }

    pub fn start_in(state: &Path, options: &[&str]) -> Self {
        let mut child = Command::new(HOST)
            .args(["serve", "--json", "--state"])
            .arg(state)
            .args(hypervisor())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tells = told.clone();
        // Reads on after the host is ready: a full pipe would hold it up.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("\"step\":\"ready\"") {
                    // Only the first one is waited for.
                    ready.send(()).ok();
                }
                tells.lock().unwrap().push(line);
            }
        });
        is_ready.recv_timeout(LIMIT).expect("the host is not ready");
        Self { child, state: state.to_owned(), told, _directory: None }
    }

    /// A command line that runs in a qube.
    pub fn exec<S: AsRef<OsStr>>(&self, qube: &str, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(HOST);
        command.args(["exec", "--state"]).arg(&self.state).args([qube, "--"]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command in a qube; its output.
    pub fn run<S: AsRef<OsStr>>(&self, qube: &str, words: impl IntoIterator<Item = S>) -> Output {
        self.exec(qube, words).output().unwrap()
    }

    /// Writes a file in the home of a qube.
    pub fn put(&self, qube: &str, name: &str, content: &[u8]) {
        let mut child =
            self.exec(qube, ["tee", name]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Reads a file in the home of a qube.
    pub fn get(&self, qube: &str, name: &str) -> Vec<u8> {
        let output = self.run(qube, ["cat", "--", name]);
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// The names of disposables in one place of the queue, in the order of its entries: of `ready` the next to be taken first.
    pub fn place(&self, place: &str) -> Vec<String> {
        let directory = self.state.join("run/dispvm/default-dvm").join(place);
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        let text = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let name = |text: String| text.lines().find_map(|line| line.strip_prefix("name=").map(str::to_owned));
        paths.into_iter().filter_map(|path| name(text(path))).collect()
    }

    /// Waits until an application that makes the file `running` in its home runs in a disposable; its name.
    #[track_caller]
    pub fn running_application(&self) -> String {
        let mut found = String::new();
        fixture::eventually("the application runs", || {
            found = self.place("used").into_iter().next().unwrap_or_default();
            !found.is_empty() && self.run(&found, ["test", "-e", "running"]).status.success()
        });
        found
    }

    /// What the host has told and logged, for a test that fails.
    #[allow(clippy::print_stdout)]
    fn show(&self) {
        for line in self.told.lock().unwrap().iter() {
            println!("{line}");
        }
        for log in std::fs::read_dir(self.state.join("log")).into_iter().flatten().flatten() {
            let text = std::fs::read(log.path()).unwrap_or_default();
            println!("== {}\n{}", log.path().display(), String::from_utf8_lossy(&text));
        }
    }

    /// Ends it as Ctrl-C does; whether it ended cleanly.
    pub fn stop(&mut self) -> bool {
        kill(self.child.id(), "INT");
        self.child.wait().unwrap().code() == Some(0)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(self.child.id(), "TERM");
            drop(self.child.wait());
        }
    }
}

/// Options for the hypervisor that the tests run on: `QUBES_HOST_HYPERVISOR`, set to `xen` in dom0 of the Xen lab
/// (tests/xen).
pub fn hypervisor() -> Vec<String> {
    let name = std::env::var("QUBES_HOST_HYPERVISOR").ok();
    name.into_iter().flat_map(|name| ["--hypervisor".to_owned(), name]).collect()
}

/// Whether qubes are domains of a real Xen.
pub fn on_xen() -> bool {
    hypervisor().iter().any(|word| word == "xen")
}

/// Whether a test is left out on Xen, which it says. The lab counts those.
#[allow(clippy::print_stderr)]
pub fn left_out_on_xen(why: &str) -> bool {
    if on_xen() {
        eprintln!("\nSKIPPED on Xen: {why}");
    }
    on_xen()
}

/// `qubes-host open` with these words.
pub fn open<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Output {
    Command::new(HOST).arg("open").args(hypervisor()).args(words).stdin(Stdio::null()).output().unwrap()
}

pub fn kill(pid: u32, signal: &str) {
    drop(Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status());
}

/// Pids whose command line contains `part`, this process excepted.
pub fn processes_with(part: &str) -> Vec<u32> {
    let own = std::process::id();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            [line, environment].iter().any(|bytes| String::from_utf8_lossy(bytes).contains(part))
        })
        .collect()
}

/// Exit code, or 128 and the signal's number.
pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
