//! Calls of a qube to services in dom0 (spec/qrexec-wire.md 6.3, 6.5), with a real daemon and real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod daemon_support;

use daemon_support::*;
use std::os::unix::net::UnixDatagram;

fn call(world: &World, agent: &mut Peer, ident: &str, target: &str, service: &str) -> (Peer, u32) {
    agent.trigger(ident, target, service);
    let (domain, port) = agent.connected(ident);
    assert_eq!(domain, 0);
    (world.vchan_server(42, 0, port).accept_caller(), port)
}

#[test]
fn the_whole_life_of_a_call() {
    let world = World::new();
    world.service("test.Cat", "cat");
    let policy = world.policy(&allow("dom0", "@default", ""));
    let (_daemon, mut agent) = world.qube(42, "work");
    for _ in 0..3 {
        agent.trigger("SOCKET7", "", "test.Cat");
        assert_eq!(
            policy.question(),
            "source=work\nrequested_source=\nintended_target=\nservice_and_arg=test.Cat\n\n"
        );
        assert_eq!(agent.connected("SOCKET7"), (0, 513), "the port of the call before is free again");
        let mut caller = world.vchan_server(42, 0, 513).accept_caller();
        caller.send(STDIN, b"some ");
        caller.send(STDIN, b"text");
        caller.send(STDIN, b"");
        assert_eq!(caller.drain_service(), ("some text".to_owned(), 0));
        agent.send(CONNECTION_TERMINATED, &params(0, 513, b""));
    }
}

#[test]
fn p9_the_exit_code_is_the_services_own() {
    let world = World::new();
    world.service("test.Code", "exit $1");
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let (_daemon, mut agent) = world.qube(42, "work");
    for (number, code) in [(0, 7), (1, 255), (2, 0)] {
        let (mut caller, _) =
            call(&world, &mut agent, &format!("S{number}"), "dom0", &format!("test.Code+{code}"));
        assert_eq!(caller.drain_service(), (String::new(), code));
    }
}

#[test]
fn p9_a_service_that_is_not_there_is_127() {
    let world = World::new();
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let (_daemon, mut agent) = world.qube(42, "work");
    let (mut caller, _) = call(&world, &mut agent, "S1", "dom0", "test.None");
    assert_eq!(caller.drain_service(), (String::new(), 127));
}

#[test]
fn p9_a_broken_configuration_is_125() {
    let world = World::new();
    world.service("test.Cat", "cat");
    std::fs::write(world.path("rpc-config/test.Cat"), "nonsense\n").unwrap();
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let (_daemon, mut agent) = world.qube(42, "work");
    let (mut caller, _) = call(&world, &mut agent, "S1", "dom0", "test.Cat");
    assert_eq!(caller.drain_service(), (String::new(), 125));
}

#[test]
fn p10_the_environment_of_a_service() {
    let world = World::new();
    world
        .service("test.Env", "env | grep ^QREXEC | grep -v ^QREXEC_SERVICE_PATH | sort; echo \"args $# $1\"");
    let _policy = world.policy(&allow("@adminvm", "@dispvm", ""));
    let (_daemon, mut agent) = world.qube(42, "work");
    let (mut caller, _) = call(&world, &mut agent, "S1", "@dispvm", "test.Env+a+b");
    assert_eq!(
        caller.drain_service().0,
        "QREXEC_REMOTE_DOMAIN=work\n\
         QREXEC_REQUESTED_TARGET_KEYWORD=dispvm\n\
         QREXEC_REQUESTED_TARGET_TYPE=keyword\n\
         QREXEC_SERVICE_ARGUMENT=a+b\n\
         QREXEC_SERVICE_FULL_NAME=test.Env+a+b\n\
         args 1 a+b\n"
    );
}

#[test]
fn a_missing_plus_is_appended() {
    let world = World::new();
    world.service("test.Env", "echo $QREXEC_SERVICE_FULL_NAME $QREXEC_REQUESTED_TARGET $#");
    let _policy = world.policy(&allow("dom0", "vault", "\npolicy_source=far"));
    let (_daemon, mut agent) = world.qube(42, "work");
    let (mut caller, _) = call(&world, &mut agent, "S1", "vault", "test.Env");
    assert_eq!(caller.drain_service().0, "test.Env+ vault 0\n");
}

#[test]
fn half_closed_streams_go_on() {
    let world = World::new();
    // Output ends first, and the input is still read; then the other way round.
    world.service("test.InLast", "echo out; exec >&-; cat > \"$QREXEC_SERVICE_PATH/../got\"; exit 4");
    world.service("test.OutLast", "cat >/dev/null; echo late; exit 5");
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let (_daemon, mut agent) = world.qube(42, "work");

    let (mut caller, _) = call(&world, &mut agent, "S1", "dom0", "test.InLast");
    assert_eq!(caller.receive_besides_errors(), (STDOUT, b"out\n".to_vec()));
    assert_eq!(caller.receive_besides_errors(), (STDOUT, vec![]));
    caller.send(STDIN, b"after the end\n");
    caller.send(STDIN, b"");
    assert_eq!(caller.receive(), (EXIT_CODE, 4i32.to_ne_bytes().to_vec()));
    assert_eq!(world.read("got"), "after the end\n");

    let (mut caller, _) = call(&world, &mut agent, "S2", "dom0", "test.OutLast");
    caller.send(STDIN, b"");
    assert_eq!(caller.drain_service(), ("late\n".to_owned(), 5));
}

#[test]
fn a_caller_that_goes_away_ends_the_services_input() {
    let world = World::new();
    world.service("test.Wait", "cat; echo ended > \"$QREXEC_SERVICE_PATH/../ended\"");
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let (_daemon, mut agent) = world.qube(42, "work");
    let (mut caller, port) = call(&world, &mut agent, "S1", "dom0", "test.Wait");
    caller.send(STDIN, b"x");
    drop(caller);
    agent.send(CONNECTION_TERMINATED, &params(0, port, b""));
    assert_eq!(world.read("ended"), "ended\n");
}

#[test]
fn the_end_of_the_qube_ends_its_calls() {
    let world = World::new();
    world.service("test.Wait", "cat; echo ended > \"$QREXEC_SERVICE_PATH/../ended\"");
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let (mut daemon, mut agent) = world.qube(42, "work");
    let (caller, _) = call(&world, &mut agent, "S1", "dom0", "test.Wait");
    drop((agent, caller));
    world.wait_gone("run/qrexec.42");
    assert_eq!(world.read("ended"), "ended\n");
    assert!(daemon.is_running());
}

#[test]
fn refusals_reach_the_agent_once_and_say_nothing() {
    let world = World::new();
    let (_daemon, mut agent) = world.qube(42, "work");
    agent.trigger("S1", "vault", "test.NoPolicyDaemon");
    agent.refused("S1");
    for answer in [
        "result=deny",
        "",
        "result=allow",
        "result=deny\nuser=x",
        "garbage",
        "result=deny\0",
        &"x=y\n".repeat(2000),
    ] {
        let _policy = world.policy(answer);
        agent.trigger("S2", "vault", "test.Service");
        agent.refused("S2");
    }
    // Nothing else has come: the next answer is that of the next question.
    let _policy = world.policy("result=deny");
    agent.trigger("S3", "vault", "test.Service");
    agent.refused("S3");
}

#[test]
fn the_fallback_program_is_asked_when_the_policy_daemon_is_silent() {
    let world = World::new();
    world.service("test.Cat", "cat");
    world.program(
        "policy-exec",
        &format!(
            "echo \"$@\" > \"{}\"; printf '{}\\n'",
            world.path("asked").display(),
            allow("dom0", "dom0", "").replace('\n', "\\n")
        ),
    );
    let _policy = world.policy("");
    let (_daemon, mut agent) = world.qube(42, "work");
    let (mut caller, _) = call(&world, &mut agent, "S1", "dom0", "test.Cat+x");
    caller.send(STDIN, b"");
    assert_eq!(caller.drain_service().1, 0);
    assert_eq!(world.read("asked"), "-- work dom0 test.Cat+x\n");

    world.program("policy-exec", "echo result=deny; exit 1");
    agent.trigger("S2", "dom0", "test.Cat");
    agent.refused("S2");
    world.program("policy-exec", "kill -9 $$");
    agent.trigger("S3", "dom0", "test.Cat");
    agent.refused("S3");
}

#[test]
fn many_calls_at_once() {
    let world = World::new();
    world.service("test.Cat", "cat");
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let (_daemon, mut agent) = world.qube(42, "work");
    let calls = 24;
    for number in 0..calls {
        agent.trigger(&format!("S{number}"), "dom0", "test.Cat");
    }
    let mut ports = std::collections::BTreeMap::new();
    let mut callers = Vec::new();
    for _ in 0..calls {
        let (kind, body) = agent.receive();
        assert_eq!((kind, number(&body, 0)), (SERVICE_CONNECT, 0));
        let port = number(&body, 4);
        assert_eq!(ports.insert(port, body[8..].to_vec()), None, "port {port} twice");
        callers.push((world.vchan_server(42, 0, port), port));
    }
    assert_eq!(ports.values().collect::<std::collections::BTreeSet<_>>().len(), calls);
    for (door, port) in callers {
        let mut caller = door.accept_caller();
        caller.send(STDIN, port.to_string().as_bytes());
        caller.send(STDIN, b"");
        assert_eq!(caller.drain_service(), (port.to_string(), 0));
    }
}

#[test]
fn p7_the_story_is_told_in_clean_text() {
    let world = World::new();
    world.service("test.Cat", "cat");
    let listener = UnixDatagram::bind(world.path("story.sock")).unwrap();
    listener.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let _policy = world.policy(&allow("dom0", "@dispvm", ""));
    let (_daemon, mut agent) = world.qube(42, "work");
    let (mut caller, _) = call(&world, &mut agent, "S1", "@dispvm:\u{1b}[1m", "test.Cat+\u{1b}\n");
    caller.send(STDIN, b"");
    caller.drain_service();
    let mut steps = Vec::new();
    for _ in 0..3 {
        let mut bytes = vec![0; 65536];
        let len = listener.recv(&mut bytes).unwrap();
        let event = trace::Event::from_json(&bytes[..len]).unwrap();
        assert_eq!((event.who.as_str(), event.qube.as_str()), ("qrexec-daemon", "work"));
        assert!(event.text.chars().all(|c| (' '..='~').contains(&c)), "{}", event.text);
        steps.push((event.step, event.text));
    }
    assert_eq!(steps[0], ("asked".into(), "work asks for test.Cat+__ in @dispvm:__1m".into()));
    assert_eq!(steps[1], ("allowed".into(), "allowed: test.Cat+__ will run in dom0".into()));
    assert_eq!(steps[2], ("ended".into(), "test.Cat+__ has ended with code 0".into()));
}
