//! Calls that a rule leaves to the user: assumed, asked of an agent, asked on a terminal, or refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{EXECUTABLE, LIMIT, Site, exchange};
use disposable::queue::{Place, Queue};
use fixture::eventually;
use nix::pty::openpty;
use qubes_host::{Asking, Layout};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn question(source: &str, target: &str, service: &str) -> String {
    format!("source={source}\nintended_target={target}\nservice_and_arg={service}\n\n")
}

fn ask(site: &Site, target: &str, service: &str) -> String {
    let question = question("work", target, service);
    String::from_utf8(exchange(&site.layout.policy_socket(), question.as_bytes())).unwrap()
}

fn site(asking: Asking) -> Site {
    Site::with(|config| {
        let rules = "test.Ask * work @anyvm ask\ntest.Own * work @anyvm ask target=@adminvm\n";
        config.policy = vec![("20-run.policy".into(), rules.into())];
        config.asking = asking;
    })
}

#[test]
fn an_assumed_answer_counts_where_it_is_offered() {
    let site_with = |target: &str| site(Asking::Assume(target.parse().unwrap()));
    let site = site_with("vault");
    assert!(ask(&site, "vault", "test.Ask").contains("target=vault\n"));
    assert!(
        ask(&site, "@dispvm", "test.Ask").contains("target=vault\n"),
        "the user may choose another target"
    );
    assert!(site.step("asked").text.contains("agreed"));
    assert_eq!(ask(&site, "vault", "test.Own"), "result=deny");
    drop(site);
    for (target, service, granted) in [
        ("@dispvm", "test.Ask", Some("@dispvm:default-dvm")),
        ("@dispvm:default-dvm", "test.Ask", Some("@dispvm:default-dvm")),
        ("dom0", "test.Own", Some("dom0")),
        ("dom0", "test.Ask", None),
        ("work", "test.Ask", None),
    ] {
        let answer = ask(&site_with(target), "vault", service);
        match granted {
            Some(granted) => assert!(answer.contains(&format!("target={granted}\n")), "{target}: {answer}"),
            None => assert_eq!(answer, "result=deny", "{target}"),
        }
    }
}

#[test]
fn with_nobody_to_ask_the_call_is_refused_and_the_reason_told() {
    let site = site(Asking::Nobody);
    assert_eq!(ask(&site, "vault", "test.Ask"), "result=deny");
    let denied = site.step("denied").text;
    assert!(denied.contains("nobody can be") && denied.contains("--assume"), "{denied}");
}

#[test]
fn a_policy_agent_is_asked_where_there_is_one() {
    let site = site(Asking::Nobody);
    let listener = os::socket::listen(&site.layout.services().join("policy.Ask")).unwrap();
    let agent = std::thread::spawn(move || {
        for answer in ["allow:vault", "deny"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = Vec::new();
            stream.read_to_end(&mut question).unwrap();
            assert!(question.starts_with(b"policy.Ask dom0 name dom0\0{"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    assert!(ask(&site, "vault", "test.Ask").contains("target=vault\n"));
    assert_eq!(ask(&site, "vault", "test.Ask"), "result=deny");
    agent.join().unwrap();
}

/// `qubes-host serve` at a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<String>>,
    layout: Layout,
    _directory: tempfile::TempDir,
}

impl Terminal {
    fn start(rules: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let state = directory.path().join("state");
        std::fs::create_dir_all(state.join("etc/policy.d")).unwrap();
        std::fs::write(state.join("etc/policy.d/30-user.policy"), rules).unwrap();
        let pty = openpty(None, None).unwrap();
        let child = Command::new(EXECUTABLE)
            .args(["serve", "--state", state.to_str().unwrap()])
            .args(options)
            .stdin(Stdio::from(pty.slave.try_clone().unwrap()))
            .stdout(Stdio::null())
            .stderr(Stdio::from(pty.slave))
            .spawn()
            .unwrap();
        let keyboard = File::from(pty.master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut read, shown) = (keyboard.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = read.read(&mut buffer) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        let terminal = Self { child, keyboard, screen, layout: Layout::new(state), _directory: directory };
        terminal.wait_for("ready: ");
        terminal
    }

    /// Waits until the screen shows this; forgets what it has shown so far.
    fn wait_for(&self, text: &str) {
        eventually(text, || self.screen.lock().unwrap().contains(text));
        self.screen.lock().unwrap().clear();
    }

    fn ask(&self) -> UnixStream {
        let mut stream = os::socket::connect(&self.layout.policy_socket()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(question("work", "@dispvm", "qubes.OpenInVM").as_bytes()).unwrap();
        stream
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn ready(&self) -> usize {
        let template = "default-dvm".parse().unwrap();
        let queue = Queue::open(&self.layout.queue(), &template, Duration::from_secs(5)).unwrap().unwrap();
        queue.count(Place::Ready).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

fn answer(mut stream: UnixStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const LEFT_TO_USER: &str = "qubes.OpenInVM * work @dispvm ask target=@adminvm\n";

#[test]
fn on_a_terminal_only_a_number_and_enter_is_a_yes_and_nothing_is_claimed_before() {
    let mut terminal = Terminal::start(LEFT_TO_USER, &["--preload=1"]);
    // Typed before there is a question: an answer to nothing.
    terminal.type_in("1\n");
    for (keys, is_yes) in
        [("1\n", true), ("\n", false), ("2\n", false), ("11111\n", false), ("y\n", false), ("\x04", false)]
    {
        let asked = terminal.ask();
        terminal.wait_for("anything else refuses: ");
        assert_eq!(terminal.ready(), 1, "the queue is untouched while the question is open");
        terminal.type_in(keys);
        let answer = answer(asked);
        assert_eq!(answer.contains("result=allow\ntarget=dom0\n"), is_yes, "{keys:?}: {answer}");
        assert!(is_yes || answer == "result=deny", "{keys:?}: {answer}");
    }
    let asked = terminal.ask();
    terminal.wait_for("anything else refuses: ");
    drop(asked);
    terminal.wait_for("the caller has given up");
    // A question that is open when the host ends does not hold it up: the drop waits for the end.
    let asked = terminal.ask();
    terminal.wait_for("anything else refuses: ");
    drop(terminal);
    assert!(!answer(asked).contains("result=allow"));
}

#[test]
fn an_assumed_yes_carries_a_whole_call() {
    for (rule, assumed) in [(LEFT_TO_USER, "dom0"), ("qubes.OpenInVM * work @dispvm ask\n", "@dispvm")] {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let state = directory.path().join("state");
        std::fs::create_dir_all(state.join("etc/policy.d")).unwrap();
        std::fs::write(state.join("etc/policy.d/30-user.policy"), rule).unwrap();
        let file = directory.path().join("file");
        for (options, exit, content) in [(&["--assume", assumed][..], 0, "final"), (&[], 126, "draft")] {
            std::fs::write(&file, "draft").unwrap();
            let output = Command::new(EXECUTABLE)
                .args([
                    "open",
                    "--preload=1",
                    "--with",
                    "sed -i s/draft/final/",
                    "--state",
                    state.to_str().unwrap(),
                ])
                .args(options)
                .arg(&file)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(exit), "{rule}: {said}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), content, "{rule}: {said}");
            assert_eq!(
                said.contains("claimed from the queue"),
                assumed == "dom0" && exit == 0,
                "{rule}: {said}"
            );
        }
    }
}

#[test]
fn another_policy_daemon_decides_where_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("policy.sock");
    let listener = os::socket::listen(&socket).unwrap();
    let (sender, questions) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = Vec::new();
            while !policy::protocol::Request::is_complete(&question) {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                question.push(byte[0]);
            }
            sender.send(policy::protocol::Request::parse(&question).unwrap()).unwrap();
            stream.write_all(b"result=deny").unwrap();
        }
    });
    let file: PathBuf = directory.path().join("file");
    std::fs::write(&file, "draft").unwrap();
    let status = Command::new(EXECUTABLE)
        .args(["open", "--preload=0", "--policy-socket", socket.to_str().unwrap(), "--"])
        .arg(Path::new(&file))
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(126));
    let question = questions.recv_timeout(LIMIT).unwrap();
    assert_eq!((&*question.source, &*question.intended_target), ("work", "@dispvm"));
    assert!(question.service_and_arg.starts_with("qubes.OpenInVM"));
}
