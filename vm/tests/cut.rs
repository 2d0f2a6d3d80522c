//! The connection between two qubes breaks at any byte: the real opener, qrexec-client-vm and agent of one qube, whose peers
//! (daemon and service) are played by the test. Whatever comes through, the original is whole (promise P12).
//!
//! Positions are chosen from a seed; `CUT_SEED=N` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Place, QUBES_VM, await_that, noise};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use qrexec::wire::{Channel, Decoder, Exec, Message};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use vchan::{Config, Vchan};

const WORK: u32 = 5;
const DISPOSABLE: u32 = 6;
/// A safety net for a broken program.
const LIMIT: Duration = Duration::from_secs(60);
/// The daemon's own channel to an agent (spec/qrexec-wire.md, section 3).
const AGENT_PORT: u16 = 512;

#[test]
fn p12_m32_a_small_return_cut_at_every_byte() {
    let mut qube = Qube::new();
    let new = b"a new text, a little longer".to_vec();
    let stream = reply(&new, 0);
    for cut in 0..=stream.len() {
        qube.cut_at(&stream, &new, cut);
    }
}

#[test]
fn p12_m32_a_large_return_cut_at_a_thousand_places() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let seed = std::env::var("CUT_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(u64::try_from(now & 0xffff_ffff).unwrap());
    eprintln!("CUT_SEED={seed}");
    let mut qube = Qube::new();
    let new = noise(300_000);
    let stream = reply(&new, 0);
    let mut state = seed.max(1);
    for _ in 0..1000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let cut = usize::try_from(state % u64::try_from(stream.len() + 1).unwrap()).unwrap();
        qube.cut_at(&stream, &new, cut);
    }
}

#[test]
fn p12_m32_a_failed_service_replaces_nothing_however_whole_its_reply() {
    let mut qube = Qube::new();
    for (code, exit) in [(1, 1), (126, 126), (255, 255), (256, 255), (65_536, 255)] {
        let output = qube.call(&reply(b"whole", code), usize::MAX);
        assert_eq!(output.status.code(), Some(exit), "{code}: {output:?}");
        assert_eq!(fs::read(&qube.file).unwrap(), OLD);
        assert_eq!(fs::read(qube.place.caller().join("a.txt.edited")).unwrap(), b"whole");
        fs::remove_file(qube.place.caller().join("a.txt.edited")).unwrap();
    }
}

/// Length of HELLO, which the service's side sends first.
const HELLO: usize = 12;
const OLD: &[u8] = b"the old text";

/// All that a service's agent sends.
fn reply(content: &[u8], code: i32) -> Vec<u8> {
    let mut messages = vec![Message::Hello { version: 4 }];
    messages.extend(content.chunks(60_000).map(|part| Message::Stdout(part.to_vec())));
    messages.extend([Message::Stdout(Vec::new()), Message::Stderr(Vec::new()), Message::ExitCode(code)]);
    messages.iter().flat_map(Message::to_bytes).collect()
}

struct Qube {
    place: Place,
    file: PathBuf,
    daemon: Vchan,
    decoder: Decoder,
    agent: Child,
    port: u16,
}

impl Qube {
    fn new() -> Self {
        let place = Place::new("");
        let file = place.file("a.txt", OLD);
        fs::create_dir(place.path("vchan")).unwrap();
        fs::remove_file(place.client()).unwrap();
        symlink(QUBES_VM, place.path("qrexec-client-vm")).unwrap();
        let mut agent = Command::new(QUBES_VM);
        place.environment(agent.arg("qrexec-agent"), "");
        in_qube(&place, &mut agent);
        let agent = agent.stderr(Stdio::null()).spawn().unwrap();
        let daemon =
            Vchan::connect(&config(&place, 0), WORK.try_into().unwrap(), AGENT_PORT, Some(LIMIT)).unwrap();
        let mut qube = Self { place, file, daemon, decoder: Decoder::new(Channel::Hello), agent, port: 600 };
        assert_eq!(qube.next(), Message::Hello { version: 4 });
        (&qube.daemon).write_all(&Message::Hello { version: 4 }.to_bytes()).unwrap();
        qube.decoder.switch(Channel::AgentToDaemon { version: 4 });
        await_that("the agent", || qube.place.path("agent.sock").exists());
        qube
    }

    /// The reply breaks off after `cut` bytes: the original is as it was, or, after the last byte, the new text.
    #[track_caller]
    fn cut_at(&mut self, stream: &[u8], new: &[u8], cut: usize) {
        let output = self.call(stream, cut);
        let (left, names) = (fs::read(&self.file).unwrap(), self.place.names());
        let kept = self.place.caller().join("a.txt.edited");
        if cut == stream.len() {
            assert!(left == new && output.status.success(), "cut at {cut}: {output:?}");
            assert_eq!(names, ["a.txt"]);
            fs::write(&self.file, OLD).unwrap();
            return;
        }
        assert!(left == OLD, "cut at {cut}: the original is damaged");
        // Before HELLO there is no connection that could have been lost.
        let code = if cut < HELLO { 1 } else { 255 };
        assert_eq!(output.status.code(), Some(code), "cut at {cut}: {output:?}");
        if names.len() > 1 {
            assert_eq!(names, ["a.txt", "a.txt.edited"], "cut at {cut}");
            let part = fs::read(&kept).unwrap();
            assert!(!part.is_empty() && new.starts_with(&part), "cut at {cut}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("a.txt.edited"), "it is named");
            fs::remove_file(&kept).unwrap();
        }
    }

    /// One call, whose service sends the first `cut` bytes of `stream` and is gone.
    fn call(&mut self, stream: &[u8], cut: usize) -> Output {
        let mut command = self.place.command("qvm-open-in-dvm", "");
        in_qube(&self.place, &mut command);
        command.env("QREXEC_CLIENT_VM", self.place.path("qrexec-client-vm")).arg(&self.file);
        let mut call = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let Message::TriggerService4(trigger) = self.next() else { panic!("no request") };
        assert!(trigger.service.starts_with(b"qubes.OpenInVM"));
        self.port += 1;
        let answer = Message::ServiceConnect(Exec::request(DISPOSABLE, self.port.into(), trigger.ident));
        (&self.daemon).write_all(&answer.to_bytes()).unwrap();
        let own = config(&self.place, DISPOSABLE);
        let service = Vchan::connect(&own, WORK.try_into().unwrap(), self.port, Some(LIMIT)).unwrap();
        let (hello, rest) = stream[..cut.min(stream.len())].split_at(HELLO.min(cut));
        (&service).write_all(hello).unwrap();
        if hello.len() == HELLO {
            receive_request(&service);
        }
        // The caller may be gone before it has read all of it.
        drop((&service).write_all(rest));
        // A whole reply ends the call although the channel stays open.
        let open = (cut >= stream.len()).then_some(service);
        // What it says fits into a pipe.
        await_that("the end of the call", || call.try_wait().unwrap().is_some());
        let output = call.wait_with_output().unwrap();
        drop(open);
        assert!(matches!(self.next(), Message::ConnectionTerminated { .. }));
        output
    }

    fn next(&mut self) -> Message {
        next(&self.daemon, &mut self.decoder).expect("the agent is there")
    }
}

impl Drop for Qube {
    fn drop(&mut self) {
        drop(self.agent.kill());
        drop(self.agent.wait());
    }
}

fn config(place: &Place, own: u32) -> Config {
    Config { dir: place.path("vchan"), own: own.try_into().unwrap() }
}

fn in_qube(place: &Place, command: &mut Command) {
    command
        .env("VCHAN_SOCKET_DIR", place.path("vchan"))
        .env("VCHAN_DOMAIN", WORK.to_string())
        .env("QREXEC_AGENT_SOCKET", place.path("agent.sock"));
}

/// Hears HELLO and the whole request: name field and content.
fn receive_request(service: &Vchan) {
    let mut decoder = Decoder::new(Channel::Hello);
    assert_eq!(next(service, &mut decoder), Some(Message::Hello { version: 4 }));
    decoder.switch(Channel::Data { version: 4 });
    let mut request = Vec::new();
    loop {
        match next(service, &mut decoder) {
            Some(Message::Stdin(bytes)) if bytes.is_empty() => break,
            Some(Message::Stdin(bytes)) => request.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(&request[256..], OLD);
}

fn next(vchan: &Vchan, decoder: &mut Decoder) -> Option<Message> {
    loop {
        if let Some(message) = decoder.next().unwrap() {
            return Some(message);
        }
        let mut fds = [PollFd::new(vchan.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::try_from(LIMIT).unwrap()), Ok(1), "nothing came");
        let mut buffer = [0; 65536];
        match { vchan }.read(&mut buffer) {
            Ok(0) => return None,
            Ok(length) => decoder.push(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
    }
}
