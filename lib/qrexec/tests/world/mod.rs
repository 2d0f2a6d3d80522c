//! A small world for tests: a directory of vchan sockets, qubes with a real agent, and daemons played by the test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use qrexec::wire::{Channel, Decoder, Exec, Ident, Message, Trigger};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use vchan::{Config, Server, Vchan};

/// Far more than anything takes; only a broken program runs into it.
pub use fixture::{LIMIT as SAFETY_NET, eventually as wait_until, executable};

pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("vchan")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The world as a domain sees it.
    pub fn config(&self, own: u32) -> Config {
        Config { dir: self.path("vchan"), own: own.try_into().unwrap() }
    }

    /// A qube whose agent and daemon have said HELLO.
    pub fn qube(&self, id: u32) -> Qube {
        self.qube_with(id, env!("CARGO_BIN_EXE_qrexec-agent").as_ref(), |_| {})
    }

    pub fn qube_with(&self, id: u32, agent: &Path, prepare: impl FnOnce(&mut Command)) -> Qube {
        let dir = self.path(&format!("qube{id}"));
        for part in ["services", "config"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        let mut command = Command::new(agent);
        let socket = dir.join("agent.sock");
        command.arg("--agent-socket").arg(&socket).stdin(Stdio::null());
        self.environment(id, &mut command);
        prepare(&mut command);
        let agent = Reaped(command.spawn().unwrap());
        let daemon = self.daemon(id);
        wait_until("the agent's socket is there", || socket.exists());
        Qube { id, dir, agent, daemon, vchans: self.path("vchan") }
    }

    /// The variables that a program in a qube has.
    pub fn environment(&self, id: u32, command: &mut Command) {
        let dir = self.path(&format!("qube{id}"));
        command
            .env("VCHAN_SOCKET_DIR", self.path("vchan"))
            .env("VCHAN_DOMAIN", id.to_string())
            .env("QREXEC_AGENT_SOCKET", dir.join("agent.sock"))
            .env("QREXEC_SERVICE_PATH", dir.join("services"))
            .env("QUBES_RPC_CONFIG_PATH", dir.join("config"));
    }

    pub fn daemon(&self, id: u32) -> Peer {
        let vchan = Vchan::connect(&self.config(0), id.try_into().unwrap(), 512, Some(SAFETY_NET)).unwrap();
        let mut daemon = Peer::new(vchan);
        assert_eq!(daemon.next(), Some(Message::Hello { version: 4 }));
        daemon.send(&Message::Hello { version: 4 });
        daemon.decoder.switch(Channel::AgentToDaemon { version: 4 });
        daemon
    }

    /// A caller's end of a data channel in domain `own`, for the service's side in domain `peer`.
    pub fn data_server(&self, own: u32, peer: u32, port: u16) -> Server {
        Server::bind(&self.config(own), peer.try_into().unwrap(), port).unwrap()
    }

    /// Plays the daemons for one call from `source` to `target`; gives the request.
    pub fn connect(&self, source: &mut Qube, target: &mut Qube, port: u32) -> Trigger {
        let trigger = source.request();
        let service = String::from_utf8(trigger.service[..trigger.service.len() - 1].to_vec()).unwrap();
        let plus = if service.contains('+') { "" } else { "+" };
        let text = format!("{}:QUBESRPC {service}{plus} source", own_user());
        target.daemon.send(&Message::ExecCmdline(Exec::command(source.id, port, text.as_bytes())));
        source.daemon.send(&Message::ServiceConnect(Exec::request(target.id, port, trigger.ident)));
        trigger
    }
}

pub struct Qube {
    pub id: u32,
    pub dir: PathBuf,
    pub agent: Reaped,
    pub daemon: Peer,
    vchans: PathBuf,
}

impl Qube {
    /// A service that is a shell script.
    pub fn service(&self, name: &str, script: &str) {
        executable(&self.dir.join("services").join(name), &format!("#!/bin/sh\n{script}\n"));
    }

    pub fn config(&self, name: &str, text: &str) {
        fs::write(self.dir.join("config").join(name), text).unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("agent.sock")
    }

    /// qrexec-client-vm in this qube.
    pub fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("VCHAN_SOCKET_DIR", &self.vchans)
            .env("VCHAN_DOMAIN", self.id.to_string())
            .env("QREXEC_AGENT_SOCKET", self.socket())
            .arg("--agent-socket")
            .arg(self.socket());
        command
    }

    pub fn our_client(&self) -> Command {
        self.client(env!("CARGO_BIN_EXE_qrexec-client-vm").as_ref())
    }

    /// The next request that the agent passes on.
    pub fn request(&mut self) -> Trigger {
        match self.daemon.next() {
            Some(Message::TriggerService4(trigger)) => trigger,
            other => panic!("no request: {other:?}"),
        }
    }

    pub fn expect_terminated(&mut self, domain: u32, port: u32) {
        assert_eq!(self.daemon.next(), Some(Message::ConnectionTerminated { domain, port }));
    }

    pub fn refuse(&mut self, ident: Ident) {
        self.daemon.send(&Message::ServiceRefused(ident));
    }
}

/// The other end of a channel, played by the test.
pub struct Peer {
    pub vchan: Vchan,
    decoder: Decoder,
}

impl Peer {
    pub fn new(vchan: Vchan) -> Self {
        Self { vchan, decoder: Decoder::new(Channel::Hello) }
    }

    /// A caller: says HELLO and hears it.
    pub fn caller(server: Server) -> Self {
        let mut peer = Self::new(server.accept(Some(SAFETY_NET)).unwrap());
        peer.send(&Message::Hello { version: 4 });
        assert_eq!(peer.next(), Some(Message::Hello { version: 4 }));
        peer.decoder.switch(Channel::Data { version: 4 });
        peer
    }

    pub fn send(&mut self, message: &Message) {
        (&self.vchan).write_all(&message.to_bytes()).unwrap();
    }

    /// The next message; `None` when the channel was closed.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return Some(message);
            }
            self.wait();
            let mut buffer = [0; 65536];
            match (&self.vchan).read(&mut buffer) {
                Ok(0) => return None,
                Ok(len) => self.decoder.push(&buffer[..len]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn wait(&self) {
        let mut fds = [PollFd::new(self.vchan.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(SAFETY_NET).unwrap();
        assert_eq!(poll(&mut fds, limit), Ok(1), "nothing came");
    }

    /// All there is until the channel closes: output, errors, exit code, and the kinds of messages without data.
    pub fn rest(&mut self) -> Heard {
        let mut heard = Heard::default();
        while let Some(message) = self.next() {
            match message {
                Message::Stdout(bytes) if bytes.is_empty() => heard.ends.push("stdout"),
                Message::Stderr(bytes) if bytes.is_empty() => heard.ends.push("stderr"),
                Message::Stdout(bytes) => heard.output.extend(bytes),
                Message::Stderr(bytes) => heard.errors.extend(bytes),
                Message::ExitCode(code) => {
                    heard.code = Some(code);
                    // As every caller does (spec/qrexec-wire.md 7.4); a second end is none.
                    let _ = (&self.vchan).write_all(&Message::Stdin(Vec::new()).to_bytes());
                }
                other => panic!("{other:?}"),
            }
        }
        heard
    }
}

#[derive(Debug, Default)]
pub struct Heard {
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
    pub ends: Vec<&'static str>,
    pub code: Option<i32>,
}

/// A process that does not outlive its test.
pub struct Reaped(pub Child);

impl Reaped {
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + SAFETY_NET;
        while Instant::now() < end {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("process {} does not end", self.0.id());
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn own_user() -> String {
    String::from_utf8(qrexec::exec::own_user_name().unwrap()).unwrap()
}

/// Runs a command with this input to its end, and `meanwhile` after its start.
pub fn run(mut command: Command, input: &[u8], meanwhile: impl FnOnce()) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A service that does not read all of it is no failure of the test.
        let _ = stdin.write_all(&input);
    });
    meanwhile();
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
