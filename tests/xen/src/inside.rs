//! Runs the tests, in dom0: each in a process of its own, one after another.

use crate::choice::Choice;
use crate::error::LabError;
use crate::leftovers::Scene;
use crate::report::Line;
use crate::run::output;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs what `/lab/suites` names and `/lab/choice` lets through; the report goes to `port`.
pub(crate) fn run(port: &Path) -> Result<(), LabError> {
    let mut port = Port(fs::File::options().write(true).open(port).map_err(LabError::file("open", port))?);
    let started = Instant::now();
    let choice = Choice::parse(&read("/lab/choice")?);
    let tests = tests(&choice)?;
    port.say(&Line::Tests(tests.len()))?;
    let mut before = Scene::now();
    for test in &tests {
        if choice.is_over(started.elapsed()) {
            port.say(&Line::Late(test.whole_name()))?;
            continue;
        }
        port.say(&Line::Begin(test.whole_name()))?;
        let begun = Instant::now();
        let mut passed = test.run(&mut port)?;
        let (left, now) = before.left();
        before = now;
        for left in left {
            passed = false;
            port.say(&Line::Log(left))?;
        }
        if !passed {
            port.scene()?;
        }
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        port.say(&Line::End { passed, ms })?;
    }
    port.say(&Line::Done)
}

struct Test {
    suite: String,
    path: String,
    name: String,
}

impl Test {
    fn whole_name(&self) -> String {
        format!("{}::{}", self.suite, self.name)
    }

    /// Whether it passed; its words go to the report as they come.
    fn run(&self, port: &mut Port) -> Result<bool, LabError> {
        let failed = |source| LabError::Io { step: "run", object: self.name.clone(), source };
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|error| failed(error.into()))?;
        let reader = fs::File::from(reader);
        let mut child = Command::new(&self.path)
            .args(["--exact", &self.name, "--include-ignored", "--nocapture", "--test-threads=1"])
            .env("QUBES_HOST_HYPERVISOR", "xen")
            .env("QUBES_XEN_KERNEL_WORDS", KERNEL_WORDS)
            .stdin(Stdio::null())
            .stderr(writer.try_clone().map_err(failed)?)
            .stdout(writer)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader.take(LONGEST_LOG)).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            // What a test left running may keep its output open: its own end is what counts.
            if let Ok(line) = lines.recv_timeout(Duration::from_millis(50)) {
                port.say(&Line::Log(line))?;
                continue;
            }
            if let Some(status) = child.try_wait().map_err(failed)? {
                break Some(status);
            }
            if Instant::now() > deadline {
                break None;
            }
        };
        // Whatever is left of it, or all of it when it took too long.
        killpg(group, Signal::SIGKILL).ok();
        if status.is_none() {
            drop(child.wait());
            port.say(&Line::Log(format!("no end after {} s: killed", PATIENCE.as_secs())))?;
        }
        for line in lines.try_iter() {
            port.say(&Line::Log(line))?;
        }
        if let Some(signal) = status.and_then(|status| status.signal()) {
            port.say(&Line::Log(format!("ended by signal {signal}")))?;
        }
        Ok(status.is_some_and(|status| status.success()))
    }
}

fn read(path: &str) -> Result<String, LabError> {
    fs::read_to_string(path).map_err(LabError::file("read", Path::new(path)))
}

fn tests(choice: &Choice) -> Result<Vec<Test>, LabError> {
    let suites = read("/lab/suites")?;
    let mut tests = Vec::new();
    for (suite, path) in suites.lines().filter_map(|line| line.split_once('\t')) {
        let mut list = Command::new(path);
        list.args(["--list", "--format", "terse", "--include-ignored"]);
        let names = output("list the tests", &mut list)?;
        for name in String::from_utf8_lossy(&names).lines().filter_map(|line| line.strip_suffix(": test")) {
            let test = Test { suite: suite.to_owned(), path: path.to_owned(), name: name.to_owned() };
            if choice.takes(&test.whole_name()) {
                tests.push(test);
            }
        }
    }
    choice.order(&mut tests, Test::whole_name);
    Ok(tests)
}

struct Port(fs::File);

impl Port {
    fn say(&mut self, line: &Line) -> Result<(), LabError> {
        writeln!(self.0, "{line}").map_err(|source| LabError::Io {
            step: "write to",
            object: "the serial port".into(),
            source,
        })
    }

    /// What may tell why a test failed: the domains, and what the guests said on their consoles.
    fn scene(&mut self) -> Result<(), LabError> {
        let list = output("list the domains", Command::new("xl").arg("list")).unwrap_or_default();
        self.lines("xl list", &list)?;
        // Says where a program fell over.
        let kernel = output("ask the kernel", &mut Command::new("dmesg")).unwrap_or_default();
        self.lines("dmesg", &kernel[kernel.len().saturating_sub(2048)..])?;
        let consoles = fs::read_dir("/var/log/xen/console").into_iter().flatten().flatten();
        for path in consoles.map(|entry| entry.path()) {
            let words = fs::read(&path).unwrap_or_default();
            self.lines(&path.display().to_string(), &words[words.len().saturating_sub(4096)..])?;
            // Told once.
            drop(fs::File::create(&path));
        }
        Ok(())
    }

    fn lines(&mut self, title: &str, bytes: &[u8]) -> Result<(), LabError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.say(&Line::Log(format!("-- {title}:")))?;
        String::from_utf8_lossy(bytes)
            .lines()
            .try_for_each(|line| self.say(&Line::Log(line.trim_end().to_owned())))
    }
}

/// What spares the kernel of a guest work that takes seconds here and has no part in what is tested.
const KERNEL_WORDS: &str = "mitigations=off nowatchdog rodata=off lsm= audit=0 cryptomgr.notests \
    ipv6.disable=1 initcall_blacklist=load_system_certificate_list,crypto_kdf108_init,cubictcp_register,init_kprobe_trace,init_encrypted";
/// How long one test may take. A guest's start takes seconds here.
const PATIENCE: Duration = Duration::from_secs(1200);
const LONGEST_LOG: u64 = 1 << 18;
