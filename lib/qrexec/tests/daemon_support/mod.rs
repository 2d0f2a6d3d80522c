//! A world for a real daemon: sockets in a directory of its own, and peers that speak bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub)]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub const STDIN: u32 = 0x190;
pub const STDOUT: u32 = 0x191;
pub const STDERR: u32 = 0x192;
pub const EXIT_CODE: u32 = 0x193;
pub const EXEC_CMDLINE: u32 = 0x200;
pub const JUST_EXEC: u32 = 0x201;
pub const SERVICE_CONNECT: u32 = 0x202;
pub const SERVICE_REFUSED: u32 = 0x203;
pub const TRIGGER_SERVICE4: u32 = 0x213;
pub const CONNECTION_TERMINATED: u32 = 0x211;
pub const HELLO: u32 = 0x300;

/// A safety net, far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        for sub in ["run", "vchan", "rpc", "rpc-config"] {
            fs::create_dir(world.path(sub)).unwrap();
        }
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A service in dom0: a shell script.
    pub fn service(&self, name: &str, script: &str) {
        self.program(&format!("rpc/{name}"), script);
    }

    pub fn program(&self, name: &str, script: &str) {
        fixture::executable(&self.path(name), &format!("#!/bin/sh\n{script}\n"));
    }

    /// A policy daemon that gives every question the same answer.
    pub fn policy(&self, answer: &str) -> Server {
        let answer = answer.to_owned();
        Server::start(&self.path("policy.sock"), true, move |_| answer.clone().into_bytes())
    }

    /// A qubesd that answers by method and destination, `METHOD DEST`.
    pub fn qubesd(&self, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Server {
        Server::start(&self.path("qubesd.sock"), false, move |question| {
            let head = question.split('\0').next().unwrap();
            let words: Vec<&str> = head.split(' ').collect();
            answer(&format!("{} {}", words[0], words[3]))
        })
    }

    pub fn daemon(&self, domain: u32, name: &str) -> Daemon {
        self.daemon_with(domain, name, &["-D"])
    }

    pub fn daemon_with(&self, domain: u32, name: &str, more: &[&str]) -> Daemon {
        Daemon::from(self.command(domain, name, more).spawn().unwrap())
    }

    pub fn command(&self, domain: u32, name: &str, more: &[&str]) -> Command {
        let option = |name: &str, path: &str| {
            let mut text = OsString::from(format!("--{name}="));
            text.push(self.path(path));
            text
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_qrexec-daemon"));
        command
            .args(more)
            .arg(format!("--uuid={}", uuid(domain)))
            .arg(option("socket-dir", "run"))
            .arg(option("policy-socket", "policy.sock"))
            .arg(option("policy-program", "policy-exec"))
            .arg(option("qubesd-socket", "qubesd.sock"))
            .arg(option("story", "story.sock"))
            .args([domain.to_string().as_str(), name])
            .env("VCHAN_SOCKET_DIR", self.path("vchan"))
            .env("VCHAN_DOMAIN", "0")
            .env("QREXEC_SERVICE_PATH", self.path("rpc"))
            .env("QUBES_RPC_CONFIG_PATH", self.path("rpc-config"))
            .stdin(Stdio::null());
        command
    }

    /// The place where an agent waits for its daemon.
    pub fn agent(&self, domain: u32) -> AgentDoor {
        self.vchan_server(domain, 0, 512)
    }

    pub fn vchan_server(&self, server: u32, client: u32, port: u32) -> AgentDoor {
        let path = self.path(&format!("vchan/vchan.{server}.{client}.{port}.sock"));
        drop(fs::remove_file(&path));
        AgentDoor { listener: UnixListener::bind(path).unwrap() }
    }

    /// A daemon with an agent that has said HELLO.
    pub fn qube(&self, domain: u32, name: &str) -> (Daemon, Peer) {
        let door = self.agent(domain);
        let daemon = self.daemon(domain, name);
        let agent = door.accept_agent();
        self.wait_for(&format!("run/qrexec.{name}"));
        (daemon, agent)
    }

    pub fn wait_for(&self, name: &str) {
        until(|| fs::symlink_metadata(self.path(name)).is_ok().then_some(()), name);
    }

    pub fn wait_gone(&self, name: &str) {
        until(|| fs::symlink_metadata(self.path(name)).is_err().then_some(()), name);
    }

    pub fn read(&self, name: &str) -> String {
        until(|| fs::read_to_string(self.path(name)).ok().filter(|text| text.ends_with('\n')), name)
    }

    /// A client of a daemon, HELLO done.
    pub fn client(&self, name: &str) -> Peer {
        let mut peer = Peer::new(UnixStream::connect(self.path(&format!("run/qrexec.{name}"))).unwrap());
        assert_eq!(peer.receive(), (HELLO, 3u32.to_ne_bytes().to_vec()));
        peer.send(HELLO, &3u32.to_ne_bytes());
        peer
    }
}

pub fn until<T>(mut found: impl FnMut() -> Option<T>, what: &str) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

pub fn uuid(domain: u32) -> String {
    format!("01234567-89ab-4def-8123-{domain:012x}")
}

pub struct AgentDoor {
    listener: UnixListener,
}

impl AgentDoor {
    pub fn accept(&self) -> Peer {
        self.listener.set_nonblocking(true).unwrap();
        let (stream, _) = until(|| self.listener.accept().ok(), "somebody to connect");
        stream.set_nonblocking(false).unwrap();
        Peer::new(stream)
    }

    pub fn accept_agent(&self) -> Peer {
        let mut agent = self.accept();
        agent.send(HELLO, &4u32.to_ne_bytes());
        assert_eq!(agent.receive(), (HELLO, 4u32.to_ne_bytes().to_vec()));
        agent
    }

    /// The caller's end of a data vchan to dom0: it says HELLO first.
    pub fn accept_caller(&self) -> Peer {
        let mut caller = self.accept();
        caller.send(HELLO, &4u32.to_ne_bytes());
        assert_eq!(caller.receive(), (HELLO, 4u32.to_ne_bytes().to_vec()));
        caller
    }
}

/// Something that speaks messages.
pub struct Peer {
    pub stream: UnixStream,
}

impl Peer {
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    pub fn send(&mut self, kind: u32, body: &[u8]) {
        self.stream.write_all(&message(kind, body)).unwrap();
    }

    pub fn receive(&mut self) -> (u32, Vec<u8>) {
        self.try_receive().expect("a message, not the end")
    }

    /// `None` at the end.
    pub fn try_receive(&mut self) -> Option<(u32, Vec<u8>)> {
        let mut header = [0; 8];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came"),
            Err(_) => return None,
        }
        let (kind, len) = header.split_at(4);
        let mut body = vec![0; u32::from_ne_bytes(len.try_into().unwrap()) as usize];
        self.stream.read_exact(&mut body).unwrap();
        Some((u32::from_ne_bytes(kind.try_into().unwrap()), body))
    }

    pub fn is_ended(&mut self) -> bool {
        self.try_receive().is_none()
    }

    pub fn trigger(&mut self, ident: &str, target: &str, service: &str) {
        let mut body = vec![0; 160];
        body[64..64 + target.len()].copy_from_slice(target.as_bytes());
        body[128..128 + ident.len()].copy_from_slice(ident.as_bytes());
        body.extend_from_slice(service.as_bytes());
        body.push(0);
        self.send(TRIGGER_SERVICE4, &body);
    }

    /// The answer to a request that was allowed: domain and port.
    pub fn connected(&mut self, ident: &str) -> (u32, u32) {
        let (kind, body) = self.receive();
        assert_eq!((kind, &body[8..]), (SERVICE_CONNECT, &ident32(ident)[..]), "{ident} is connected");
        (number(&body, 0), number(&body, 4))
    }

    pub fn refused(&mut self, ident: &str) {
        assert_eq!(self.receive(), (SERVICE_REFUSED, ident32(ident)), "{ident} is refused");
    }

    /// All that the service sends until its exit code: output, and the code. Then the caller's input ends, as a real
    /// caller's does.
    pub fn drain_service(&mut self) -> (String, i32) {
        let mut output = Vec::new();
        let (mut output_ended, mut errors_ended) = (false, false);
        loop {
            match self.receive() {
                (STDOUT, bytes) => {
                    assert!(!output_ended, "nothing after the end");
                    output_ended = bytes.is_empty();
                    output.extend_from_slice(&bytes);
                }
                (STDERR, bytes) => {
                    assert!(bytes.is_empty() && !errors_ended, "dom0 has no errors to send");
                    errors_ended = true;
                }
                (EXIT_CODE, code) => {
                    assert!(output_ended && errors_ended, "the code comes last");
                    // The service side may be gone already.
                    drop(self.stream.write_all(&message(STDIN, b"")));
                    return (
                        String::from_utf8(output).unwrap(),
                        i32::from_ne_bytes(code.try_into().unwrap()),
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message that is not the end of errors, which dom0 has none of.
    pub fn receive_besides_errors(&mut self) -> (u32, Vec<u8>) {
        match self.receive() {
            (STDERR, bytes) if bytes.is_empty() => self.receive(),
            other => other,
        }
    }
}

pub fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    [&kind.to_ne_bytes(), &u32::try_from(body.len()).unwrap().to_ne_bytes(), body].concat()
}

pub fn params(domain: u32, port: u32, text: &[u8]) -> Vec<u8> {
    [&domain.to_ne_bytes(), &port.to_ne_bytes(), text].concat()
}

pub fn ident32(ident: &str) -> Vec<u8> {
    let mut bytes = ident.as_bytes().to_vec();
    bytes.resize(32, 0);
    bytes
}

pub fn number(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

pub fn allow(target: &str, requested: &str, more: &str) -> String {
    format!("user=DEFAULT\nresult=allow\ntarget={target}\nautostart=True\nrequested_target={requested}{more}")
}

/// A daemon process, ended with its value.
pub struct Daemon {
    child: Child,
}

impl From<Child> for Daemon {
    fn from(child: Child) -> Self {
        Self { child }
    }
}

impl Daemon {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn terminate(&mut self) -> ExitStatus {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.wait()
    }

    pub fn wait(&mut self) -> ExitStatus {
        until(|| self.child.try_wait().unwrap(), "the daemon's end")
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server of questions and answers, one a connection.
pub struct Server {
    questions: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    /// `by_line`: a question ends with an empty line rather than with the end of the stream.
    fn start(path: &Path, by_line: bool, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> Self {
        drop(fs::remove_file(path));
        let listener = UnixListener::bind(path).unwrap();
        let questions = Arc::new(Mutex::new(VecDeque::new()));
        let log = Arc::clone(&questions);
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let mut question = Vec::new();
                let mut byte = [0];
                while !(by_line && question.ends_with(b"\n\n")) && client.read(&mut byte).unwrap() == 1 {
                    question.push(byte[0]);
                }
                let question = String::from_utf8(question).unwrap();
                log.lock().unwrap().push_back(question.clone());
                // The asker may have gone.
                drop(client.write_all(&answer(&question)));
            }
        });
        Self { questions }
    }

    /// The next question that was asked.
    pub fn question(&self) -> String {
        until(|| self.questions.lock().unwrap().pop_front(), "a question")
    }

    pub fn has_question(&self) -> bool {
        !self.questions.lock().unwrap().is_empty()
    }
}
