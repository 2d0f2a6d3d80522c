//! qrexec-client-vm as a process, against our agents, the daemons played by the test (spec/qrexec-wire.md 6.2, 10).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use qrexec::wire::{Exec, Message};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use world::{Peer, Qube, Reaped, World, code, executable, own_user, run, text};

const PORT: u32 = 513;

struct Pair {
    world: World,
    work: Qube,
    disp: Qube,
}

impl Pair {
    fn new() -> Self {
        let world = World::new();
        let (work, disp) = (world.qube(5), world.qube(7));
        Self { world, work, disp }
    }

    /// A call from work to disp.
    fn call(&mut self, args: &[&str], input: &[u8]) -> std::process::Output {
        let mut client = self.work.our_client();
        client.args(args);
        let Self { world, work, disp } = self;
        let output = run(client, input, || drop(world.connect(work, disp, PORT)));
        self.disp.expect_terminated(5, PORT);
        self.work.expect_terminated(7, PORT);
        output
    }
}

#[test]
fn a_call_from_qube_to_qube() {
    let mut pair = Pair::new();
    pair.disp.service("test.Echo", "cat; echo \"$QREXEC_SERVICE_FULL_NAME\" >&2; exit 42");
    let output = pair.call(&["$dispvm", "test.Echo"], b"hello");
    assert_eq!((text(&output.stdout).as_str(), code(&output)), ("hello", 42));
    assert_eq!(text(&output.stderr), "test.Echo+\n");
}

#[test]
fn exit_codes() {
    let mut pair = Pair::new();
    pair.disp.service("test.Exit", "exit $1");
    pair.disp.service("test.Kill", "kill -$1 $$");
    for expected in 0..=255 {
        let output = pair.call(&["@dispvm", &format!("test.Exit+{expected}")], b"");
        assert_eq!(code(&output), expected);
    }
    assert_eq!(code(&pair.call(&["@dispvm", "test.Kill+9"], b"")), 137);
    assert_eq!(code(&pair.call(&["@dispvm", "test.Kill+15"], b"")), 143);
    assert_eq!(code(&pair.call(&["@dispvm", "test.None"], b"")), 127);
    pair.disp.config("test.Exit", "broken\n");
    assert_eq!(code(&pair.call(&["@dispvm", "test.Exit+0"], b"")), 125);
}

#[test]
fn tens_of_mebibytes_both_ways() {
    let mut pair = Pair::new();
    pair.disp.service("test.Cat", "cat");
    let input: Vec<u8> = (0..40u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let output = pair.call(&["@dispvm", "test.Cat"], &input);
    assert_eq!(code(&output), 0);
    assert!(output.stdout == input, "{} of {} bytes came back", output.stdout.len(), input.len());
}

#[test]
fn half_closed_both_ways() {
    let mut pair = Pair::new();
    pair.disp.service("test.Late", "cat >/dev/null; echo late");
    assert_eq!(pair.call(&["@dispvm", "test.Late"], b"x").stdout, b"late\n");
    // The service closes its output first; ours ends too, while input still flows.
    pair.disp.service("test.Early", "echo early; exec >&-; wc -c >&2; exit 4");
    let mut client = pair.work.our_client();
    client
        .args(["@dispvm", "test.Early"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let Pair { world, work, disp } = &mut pair;
    world.connect(work, disp, PORT);
    let mut output = String::new();
    client.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "early\n");
    client.stdin.take().unwrap().write_all(&[b'x'; 1000]).unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!((text(&output.stderr).trim(), code(&output)), ("1000", 4));
}

#[test]
fn refused() {
    let mut pair = Pair::new();
    let mut client = pair.work.our_client();
    client.args(["-s", "other", "@default", "test.Service"]);
    let output = run(client, b"", || {
        let request = pair.work.request();
        assert_eq!(request.source[..6], *b"other\0");
        assert_eq!(request.target[..9], *b"@default\0");
        pair.work.refuse(request.ident);
    });
    assert_eq!((text(&output.stderr).as_str(), code(&output)), ("Request refused\n", 126));
}

#[test]
fn no_agent() {
    let world = World::new();
    let mut client = Command::new(env!("CARGO_BIN_EXE_qrexec-client-vm"));
    client.env("QREXEC_AGENT_SOCKET", world.path("none")).args(["a", "b"]);
    let output = run(client, b"", || {});
    assert_eq!(code(&output), 1);
    let line = text(&output.stderr);
    assert!(line.contains("none") && line.lines().count() == 1, "{line}");
}

#[test]
fn an_agent_killed_in_mid_stream_ends_the_call() {
    let mut pair = Pair::new();
    pair.disp.service("test.Endless", "yes");
    let mut client = pair.work.our_client();
    client.args(["@dispvm", "test.Endless"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Reaped(client.spawn().unwrap());
    let Pair { world, work, disp } = &mut pair;
    world.connect(work, disp, PORT);
    let mut output = client.0.stdout.take().unwrap();
    output.read_exact(&mut [0; 1 << 20]).unwrap();
    disp.agent.0.kill().unwrap();
    output.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(client.wait().code(), Some(255));
}

#[test]
fn an_agent_that_dies_before_the_service_came_ends_the_call() {
    let mut pair = Pair::new();
    let mut client = pair.work.our_client();
    client.args(["@dispvm", "test.None"]).stderr(Stdio::piped());
    let mut client = Reaped(client.spawn().unwrap());
    let request = pair.work.request();
    pair.work.daemon.send(&Message::ServiceConnect(Exec::request(7, PORT, request.ident)));
    let server = pair.world.path("vchan/vchan.5.7.513.sock");
    world::wait_until("client-vm waits for the service", || server.exists());
    pair.work.agent.0.kill().unwrap();
    assert_eq!(client.wait().code(), Some(1));
}

#[test]
fn prefix_and_filters() {
    let mut pair = Pair::new();
    pair.disp.service("test.Cat", "tee /dev/stderr");
    let plain = pair.call(&["-p", "prefix:", "@dispvm", "test.Cat"], b"\x1b[31m\n");
    assert_eq!(plain.stdout, b"prefix:\x1b[31m\n");
    let filtered = pair.call(&["-tT", "@dispvm", "test.Cat"], b"\x1b[31m\n\xff");
    assert_eq!(text(&filtered.stdout), "_[31m\n_");
    assert_eq!(text(&filtered.stderr), "_[31m\n_");
}

#[test]
fn with_a_local_program() {
    let mut pair = Pair::new();
    pair.disp.service("test.Upper", "read line; echo \"$line\" | tr a-z A-Z; exit $1");
    let program = pair.work.dir.join("program");
    executable(
        &program,
        "#!/bin/sh\necho \"$1\"; read reply; to=/proc/self/fd/$SAVED_FD_1\n\
         cat </proc/self/fd/$SAVED_FD_0 >$to; echo $reply ${SAVED_FD_2:-none} >$to\n\
         kill -USR1 $QREXEC_AGENT_PID; exit 3\n",
    );
    let program = program.to_str().unwrap();
    let output = pair.call(&["@dispvm", "test.Upper+0", program, "hello"], b"from stdin\n");
    assert_eq!(text(&output.stdout), "from stdin\nHELLO none\n");
    assert_eq!(code(&output), 3, "the service's code is 0, so the program's counts");
    let output = pair.call(&["@dispvm", "test.Upper+8", program, "hello"], b"");
    assert_eq!(code(&output), 8, "the service's code comes first");
    let output = pair.call(&["@dispvm", "test.Upper+0", "/nonexistent"], b"");
    assert_eq!(code(&output), 255);
    assert!(text(&output.stderr).contains("/nonexistent"));
}

#[test]
fn one_socket_for_both_directions() {
    let mut pair = Pair::new();
    pair.disp.service("test.Cat", "cat; exit 6");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let mut client = pair.work.our_client();
    client.args(["--use-stdin-socket", "@dispvm", "test.Cat"]).stdin(OwnedFd::from(theirs));
    let mut client = Reaped(client.spawn().unwrap());
    let Pair { world, work, disp } = &mut pair;
    world.connect(work, disp, PORT);
    ours.write_all(b"there and back").unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    ours.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"there and back");
    assert_eq!(client.wait().code(), Some(6));
}

#[test]
fn a_call_to_dom0() {
    // Dom0 is the vchan client there, hears HELLO first and has no channel for errors (6.3).
    let mut pair = Pair::new();
    let mut client = pair.work.our_client();
    client.args(["dom0", "test.Dom0"]);
    let Pair { world, work, .. } = &mut pair;
    let output = run(client, b"in", || {
        let request = work.request();
        work.daemon.send(&Message::ServiceConnect(Exec::request(0, PORT, request.ident)));
        let config = world.config(0);
        let vchan =
            vchan::Vchan::connect(&config, 5.try_into().unwrap(), 513, Some(world::SAFETY_NET)).unwrap();
        let mut service = Peer::new(vchan);
        assert_eq!(service.next(), Some(Message::Hello { version: 4 }));
        service.send(&Message::Hello { version: 4 });
        service.send(&Message::Stderr(Vec::new()));
        service.send(&Message::Stdout(b"out".to_vec()));
        service.send(&Message::Stdout(Vec::new()));
        service.send(&Message::ExitCode(17));
    });
    assert_eq!((text(&output.stdout).as_str(), code(&output)), ("out", 17));
    assert!(!own_user().is_empty());
}
