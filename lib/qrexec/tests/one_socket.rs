//! Programs that ask with SIGUSR1 for one socket in both directions (spec/qrexec-wire.md 7.6).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use qrexec::wire::{Exec, Message};
use std::process::Stdio;
use std::thread;
use world::{Heard, Peer, Qube, World, code, own_user, text, wait_until};

const ASK: &str = "kill -USR1 \"$QREXEC_AGENT_PID\"";

/// Dom0 calls a service of the qube.
fn call(world: &World, qube: &mut Qube, service: &str, port: u16) -> Peer {
    let server = world.data_server(0, qube.id, port);
    let text = format!("{}:QUBESRPC {service}+ dom0", own_user());
    qube.daemon.send(&Message::ExecCmdline(Exec::command(0, port.into(), text.as_bytes())));
    Peer::caller(server)
}

/// What a service that reads a line says; the line is sent once it has said something.
fn talk(script: &str) -> Heard {
    let world = World::new();
    let mut qube = world.qube(7);
    qube.service("test.Socket", script);
    let mut caller = call(&world, &mut qube, "test.Socket", 513);
    let first = caller.next();
    caller.send(&Message::Stdin(b"line\n".to_vec()));
    caller.send(&Message::Stdin(Vec::new()));
    let mut heard = caller.rest();
    match first {
        Some(Message::Stdout(bytes)) if !bytes.is_empty() => drop(heard.output.splice(0..0, bytes)),
        other => panic!("first came {other:?}"),
    }
    qube.expect_terminated(0, 513);
    heard
}

#[test]
fn a_service_speaks_by_its_standard_input() {
    let heard = talk(&format!("{ASK}; echo hello >&0; read x; echo \"got $x\" >&0; exit 3"));
    assert_eq!((text(&heard.output).as_str(), heard.code), ("hello\ngot line\n", Some(3)));
    assert_eq!(heard.ends.iter().filter(|end| **end == "stdout").count(), 1);
}

#[test]
fn what_it_said_before_comes_first() {
    let heard = talk(&format!("seq 20000; {ASK}; echo hello >&0; read x; echo \"got $x\" >&0"));
    let numbers: String = (1..=20000).map(|number| format!("{number}\n")).collect();
    assert_eq!(text(&heard.output), format!("{numbers}hello\ngot line\n"));
}

#[test]
fn the_end_of_its_standard_output_does_not_count() {
    // The signal and the end are under way at the same time: many tries, to meet every order.
    for _ in 0..30 {
        let heard = talk(&format!("{ASK}; exec >&-; echo hello >&0; read x; echo \"got $x\" >&0"));
        assert_eq!(text(&heard.output), "hello\ngot line\n");
    }
}

#[test]
fn a_wish_after_the_end_of_the_input() {
    let heard = talk(&format!("echo hello; read x; cat; {ASK}; echo \"got $x\" >&0"));
    assert_eq!(text(&heard.output), "hello\ngot line\n");
}

#[test]
fn a_program_of_the_service_may_ask() {
    let heard = talk("env kill -USR1 $QREXEC_AGENT_PID; echo hello >&0; read x; echo \"got $x\" >&0");
    assert_eq!(text(&heard.output), "hello\ngot line\n");
}

#[test]
fn nobody_knows_who_asked() {
    // A process that has no parent of ours any more: what is written to the standard input tells.
    let script = "setsid -f sh -c 'until grep -q \"^PPid:.1$\" /proc/$$/status; do :; done; kill -USR1 $0' \
                  $QREXEC_AGENT_PID; sleep 0.1; echo hello >&0; read x; echo \"got $x\" >&0";
    let heard = talk(script);
    assert_eq!(text(&heard.output), "hello\ngot line\n");
}

#[test]
fn only_the_one_that_asked_is_switched() {
    let world = World::new();
    let mut qube = world.qube(7);
    let asked = qube.dir.join("asked");
    qube.service("test.Asks", &format!("{ASK}; echo hello >&0; touch {}; cat >&0", asked.display()));
    qube.service("test.Other", "echo one; read x; echo two; exec >&-; cat >/dev/null");
    let mut other = call(&world, &mut qube, "test.Other", 514);
    assert_eq!(other.next(), Some(Message::Stdout(b"one\n".to_vec())));
    let mut asking = call(&world, &mut qube, "test.Asks", 513);
    assert_eq!(asking.next(), Some(Message::Stdout(b"hello\n".to_vec())));
    wait_until("it has asked", || asked.exists());
    other.send(&Message::Stdin(b"x\n".to_vec()));
    assert_eq!(other.next(), Some(Message::Stdout(b"two\n".to_vec())));
    assert_eq!(other.next(), Some(Message::Stdout(Vec::new())), "its standard output has ended");
    // Little enough for the sockets on its way, as nobody reads meanwhile.
    let much: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    for part in much.chunks(60_000) {
        asking.send(&Message::Stdin(part.to_vec()));
    }
    asking.send(&Message::Stdin(Vec::new()));
    assert!(asking.rest().output == much);
    other.send(&Message::Stdin(Vec::new()));
    assert_eq!(other.rest().code, Some(0));
}

#[test]
fn many_ask_at_once() {
    let world = World::new();
    let mut qube = world.qube(7);
    // The kernel makes one signal of several: nobody's wish is lost all the same.
    let go = qube.dir.join("go");
    let script = format!("until [ -e {} ]; do :; done; {ASK}; echo hello >&0; cat >&0", go.display());
    qube.service("test.Asks", &script);
    let mut callers: Vec<_> = (0..8).map(|at| call(&world, &mut qube, "test.Asks", 600 + at)).collect();
    std::fs::write(&go, "").unwrap();
    for caller in &mut callers {
        assert_eq!(caller.next(), Some(Message::Stdout(b"hello\n".to_vec())));
        caller.send(&Message::Stdin(b"x".to_vec()));
        caller.send(&Message::Stdin(Vec::new()));
        let heard = caller.rest();
        assert_eq!((heard.output, heard.code), (b"x".to_vec(), Some(0)));
    }
}

#[test]
fn a_local_program_of_the_client_may_ask_as_well() {
    let world = World::new();
    let (mut work, mut disp) = (world.qube(5), world.qube(7));
    disp.service("test.Upper", "exec tr a-z A-Z");
    let note = world.path("note");
    let script =
        format!("{ASK}; exec >&-; echo hello >&0; read x; echo \"got $x\" > {}; exit 4", note.display());
    let mut client = work.our_client();
    client.args(["@dispvm", "test.Upper", "/bin/sh", "-c", &script]).stdin(Stdio::null());
    // It reads the line only when the service has ended, which needs the end of its input.
    let script = "read x; echo \"$x\" | tr a-z A-Z";
    disp.service("test.Upper", script);
    let child = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let waiting = thread::spawn(move || child.wait_with_output().unwrap());
    world.connect(&mut work, &mut disp, 513);
    let output = waiting.join().unwrap();
    assert_eq!((code(&output), text(&output.stderr).as_str()), (4, ""));
    assert_eq!(std::fs::read_to_string(note).unwrap(), "got HELLO\n");
}
