//! dom0's client against a daemon and an agent that are a few lines each, over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data_parts;

use data_parts::{pattern, pipe, reader, shell};
use names::DomId;
use qrexec::client::{Client, ClientError};
use qrexec::data::{self, CallEnd, Options};
use qrexec::wire::{Channel, Decoder, Exec, Ident, Message};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use vchan::{Config, Vchan};

fn domain(id: u32) -> DomId {
    DomId::try_from(id).unwrap()
}

fn client(dir: &Path) -> Client {
    Client { socket_dir: dir.to_owned(), vchan: Config { dir: dir.to_owned(), own: DomId::DOM0 } }
}

/// Takes one client as a daemon does; gives its request.
fn take(listener: &UnixListener, version: u32) -> (UnixStream, Option<Message>) {
    let (mut socket, _) = listener.accept().unwrap();
    socket.write_all(&Message::Hello { version }.to_bytes()).unwrap();
    let mut decoder = Decoder::new(Channel::Hello);
    loop {
        while let Some(message) = decoder.next().unwrap() {
            match message {
                Message::Hello { version } => {
                    assert_eq!(version, 3);
                    decoder.switch(Channel::ClientToDaemon);
                }
                request => return (socket, Some(request)),
            }
        }
        let mut buffer = [0; 1000];
        match socket.read(&mut buffer).unwrap_or(0) {
            0 => return (socket, None),
            count => decoder.push(&buffer[..count]),
        }
    }
}

/// A daemon for one request, which it answers with this.
fn daemon(
    dir: &Path,
    name: &str,
    answer: impl FnOnce(UnixStream, Message) + Send + 'static,
) -> JoinHandle<()> {
    let listener = os::socket::listen(&dir.join(format!("qrexec.{name}"))).unwrap();
    thread::spawn(move || {
        let (socket, request) = take(&listener, 3);
        answer(socket, request.unwrap());
    })
}

/// Starts the service in "domain 5" and tells the client where.
fn run_in_domain_5(dir: &Path, script: &'static str) -> impl FnOnce(UnixStream, Message) + Send + 'static {
    let config = Config { dir: dir.to_owned(), own: domain(5) };
    move |mut socket, request| {
        let Message::ExecCmdline(exec) = request else { panic!("{request:?}") };
        assert_eq!(
            (exec.domain, exec.port, exec.command_text()),
            (0, 0, &b"DEFAULT:QUBESRPC test.Cat+ dom0"[..])
        );
        socket.write_all(&Message::ExecCmdline(Exec::answer(5, 513)).to_bytes()).unwrap();
        let vchan = Vchan::connect(&config, DomId::DOM0, 513, Some(Duration::from_secs(20))).unwrap();
        data::serve(vchan, shell(script), &Options::default()).unwrap();
    }
}

#[test]
fn a_call_from_dom0_to_a_qube() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "work", run_in_domain_5(dir.path(), "cat; exit 3"));
    let call = client(dir.path()).start("work", "DEFAULT:QUBESRPC test.Cat+ dom0").unwrap();
    assert_eq!((call.domain(), call.port()), (domain(5), 513));
    let connected = call.connect().unwrap();
    let (input_reader, mut input) = pipe();
    let (output_reader, output) = pipe();
    let (_errors_reader, errors) = pipe();
    let writer = thread::spawn(move || input.write_all(&pattern(1_000_000)).unwrap());
    let output_reader = reader(output_reader);
    let report =
        connected.run(Some(input_reader.into()), output.into(), errors.into(), &Options::default()).unwrap();
    assert_eq!((report.end, report.bytes_out), (CallEnd::Exit(3), 1_000_000));
    assert!(output_reader.join().unwrap() == pattern(1_000_000));
    writer.join().unwrap();
    daemon.join().unwrap();
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["qrexec.work"]);
}

#[test]
fn a_qube_without_a_daemon_is_not_running() {
    let dir = tempfile::tempdir().unwrap();
    let not_running = client(dir.path()).start("work", "DEFAULT:x");
    assert!(matches!(not_running, Err(ClientError::NotRunning { .. })), "{not_running:?}");
    // A daemon that was killed leaves its socket behind.
    drop(os::socket::listen(&dir.path().join("qrexec.work")).unwrap());
    let not_running = client(dir.path()).start("work", "DEFAULT:x");
    assert!(matches!(not_running, Err(ClientError::NotRunning { .. })), "{not_running:?}");
}

#[test]
fn p10_a_target_is_a_name_and_no_path() {
    let dir = tempfile::tempdir().unwrap();
    for target in ["", "../work", "a/b", "a b", "a\0", "ä", &"x".repeat(65)] {
        let refused = client(dir.path()).start(target, "DEFAULT:x");
        assert!(matches!(refused, Err(ClientError::BadTarget { .. })), "{refused:?}");
    }
    let refused = client(dir.path()).start("work", "DEFAULT:x\0y");
    assert!(matches!(refused, Err(ClientError::BadCommand { .. })), "{refused:?}");
    let refused = client(dir.path()).start("work", &"x".repeat(65527));
    assert!(matches!(refused, Err(ClientError::BadCommand { .. })), "{refused:?}");
}

#[test]
fn the_longest_command_passes() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "uuid:00000000-0000-0000-0000-000000000001", |mut socket, request| {
        assert_eq!(request.exec().unwrap().text.len(), 65527);
        socket.write_all(&Message::JustExec(Exec::answer(5, 768)).to_bytes()).unwrap();
    });
    let call = client(dir.path())
        .just_exec("uuid:00000000-0000-0000-0000-000000000001", &"x".repeat(65526))
        .unwrap();
    daemon.join().unwrap();
    assert_eq!(call.port(), 768);
}

#[test]
fn a_daemon_that_closes_has_refused() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "work", |socket, _| drop(socket));
    let closed = client(dir.path()).start("work", "DEFAULT:x");
    assert!(matches!(closed, Err(ClientError::Closed { .. })), "{closed:?}");
    daemon.join().unwrap();
}

#[test]
fn answers_that_cannot_be() {
    for answer in [
        Message::JustExec(Exec::answer(5, 513)),
        Message::ExecCmdline(Exec::answer(5, 512)),
        Message::ExecCmdline(Exec::answer(5, 769)),
        Message::ExecCmdline(Exec::answer(40_000, 513)),
        Message::ExecCmdline(Exec::answer(5, 513 + 65536)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let daemon = daemon(dir.path(), "work", move |mut socket, _| {
            socket.write_all(&answer.to_bytes()).unwrap();
        });
        let bad = client(dir.path()).start("work", "DEFAULT:x");
        assert!(matches!(bad, Err(ClientError::BadAnswer { .. })), "{bad:?}");
        daemon.join().unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let listener = os::socket::listen(&dir.path().join("qrexec.work")).unwrap();
    let old = thread::spawn(move || drop(take(&listener, 2)));
    let bad = client(dir.path()).start("work", "DEFAULT:x");
    assert!(matches!(bad, Err(ClientError::Protocol { .. })), "{bad:?}");
    old.join().unwrap();
}

#[test]
fn a_lost_agent_is_noticed_before_the_time_is_up() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "work", |mut socket, _| {
        socket.write_all(&Message::ExecCmdline(Exec::answer(5, 513)).to_bytes()).unwrap();
    });
    let started = Instant::now();
    let call = client(dir.path()).start("work", "DEFAULT:x").unwrap();
    let ended = call.connect_within(Some(Duration::from_secs(60)));
    assert!(matches!(ended, Err(ClientError::Ended { .. })), "{ended:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
    daemon.join().unwrap();
    assert!(!dir.path().join("vchan.0.5.513.sock").exists());
}

#[test]
fn an_agent_that_does_not_come_is_waited_for_no_longer_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "work", |mut socket, _| {
        socket.write_all(&Message::ExecCmdline(Exec::answer(5, 513)).to_bytes()).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
    });
    let call = client(dir.path()).start("work", "DEFAULT:x").unwrap();
    let late = call.connect_within(Some(Duration::from_millis(50)));
    assert!(matches!(late, Err(ClientError::Timeout { .. })), "{late:?}");
    daemon.join().unwrap();
}

#[test]
fn a_call_that_is_over_before_we_look_still_counts() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(dir.path(), "work", run_in_domain_5(dir.path(), "exit 9"));
    let call = client(dir.path()).start("work", "DEFAULT:QUBESRPC test.Cat+ dom0").unwrap();
    // The agent is at the door, and then its daemon is gone.
    let connected = call.connect().unwrap();
    let (_output_reader, output) = pipe();
    let errors = output.try_clone().unwrap();
    let report = connected.run(None, output.into(), errors.into(), &Options::default()).unwrap();
    assert_eq!(report.end, CallEnd::Exit(9));
    daemon.join().unwrap();
}

#[test]
fn service_connect_with_and_without_a_port() {
    let ident = Ident(*b"SOCKET7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    for port in [0u16, 514] {
        let dir = tempfile::tempdir().unwrap();
        let daemon = daemon(dir.path(), "3", move |mut socket, request| {
            let Message::ServiceConnect(exec) = request else { panic!("{request:?}") };
            assert_eq!((exec.domain, exec.port, exec.ident()), (7, port.into(), Some(ident)));
            if port == 0 {
                socket.write_all(&Message::ServiceConnect(Exec::answer(3, 600)).to_bytes()).unwrap();
            }
        });
        let accepted = client(dir.path()).service_connect("3", domain(7), port, ident).unwrap();
        let expected = if port == 0 { (domain(3), 600) } else { (domain(7), 514) };
        assert_eq!((accepted.domain, accepted.port), expected);
        assert!(accepted.wait_for_end(None).unwrap());
        daemon.join().unwrap();
    }
}

#[test]
fn the_end_of_a_call_for_another_qube_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (go, gone) = std::sync::mpsc::channel();
    let daemon = daemon(dir.path(), "disp1", move |mut socket, request| {
        assert_eq!(request.exec().unwrap().domain, 3);
        socket.write_all(&Message::ExecCmdline(Exec::answer(9, 515)).to_bytes()).unwrap();
        gone.recv().unwrap();
    });
    let accepted = client(dir.path()).start_for(domain(3), "disp1", "user:QUBESRPC test.Cat+ work").unwrap();
    assert_eq!((accepted.domain, accepted.port), (domain(9), 515));
    assert!(!accepted.wait_for_end(Some(Duration::from_millis(20))).unwrap());
    go.send(()).unwrap();
    assert!(accepted.wait_for_end(Some(Duration::from_secs(60))).unwrap());
    daemon.join().unwrap();
}
