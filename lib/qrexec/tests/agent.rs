//! The agent as a process, its daemon and callers played by the test (spec/qrexec-wire.md 2, 7, 8).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qrexec::wire::{Exec, Header, Ident, Message, Trigger, message_type};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use world::{Heard, Peer, Qube, SAFETY_NET, World, own_user, wait_until};

const PORT: u16 = 513;

/// Dom0 calls a service of the qube.
fn call(world: &World, qube: &mut Qube, service: &str) -> Peer {
    command(world, qube, &format!("{}:QUBESRPC {service} dom0", own_user()))
}

fn command(world: &World, qube: &mut Qube, text: &str) -> Peer {
    let server = world.data_server(0, qube.id, PORT);
    qube.daemon.send(&Message::ExecCmdline(Exec::command(0, PORT.into(), text.as_bytes())));
    Peer::caller(server)
}

fn just_exec(world: &World, qube: &mut Qube, text: &str) -> Heard {
    let server = world.data_server(0, qube.id, PORT);
    qube.daemon.send(&Message::JustExec(Exec::command(0, PORT.into(), text.as_bytes())));
    let heard = Peer::caller(server).rest();
    qube.expect_terminated(0, PORT.into());
    heard
}

#[test]
fn streams_and_exit_code() {
    let world = World::new();
    let mut qube = world.qube(7);
    qube.service("test.Echo", "cat; echo done; echo \"$QREXEC_SERVICE_ARGUMENT\" >&2; exit 42");
    let mut caller = call(&world, &mut qube, "test.Echo+arg");
    caller.send(&Message::Stdin(b"hello ".to_vec()));
    assert_eq!(caller.next(), Some(Message::Stdout(b"hello ".to_vec())), "before the input has ended");
    caller.send(&Message::Stdin(b"world\n".to_vec()));
    caller.send(&Message::Stdin(Vec::new()));
    let heard = caller.rest();
    assert_eq!(heard.output, b"world\ndone\n");
    assert_eq!(heard.errors, b"arg\n");
    assert_eq!(heard.code, Some(42));
    let mut ends = heard.ends;
    ends.sort_unstable();
    assert_eq!(ends, ["stderr", "stdout"]);
    qube.expect_terminated(0, PORT.into());
}

#[test]
fn stale_variables_of_the_agent_do_not_reach_services() {
    let world = World::new();
    let mut qube = world.qube_with(7, env!("CARGO_BIN_EXE_qrexec-agent").as_ref(), |command| {
        for stale in ["QREXEC_REQUESTED_TARGET", "QREXEC_SERVICE_ARGUMENT", "QREXECX", "QREXEC_REMOTE_DOMAIN"]
        {
            command.env(stale, "stale");
        }
        command.env("QREXEC_AGENT_PID", "kept").env("ORDINARY", "kept");
    });
    qube.service("test.Env", "env | grep -aE '^(QREXEC|ORDINARY)' | cut -d= -f1 | LC_ALL=C sort");
    let heard = call(&world, &mut qube, "test.Env").rest();
    let expected = "ORDINARY\nQREXEC_AGENT_PID\nQREXEC_AGENT_SOCKET\nQREXEC_REMOTE_DOMAIN\n\
                    QREXEC_REQUESTED_TARGET_TYPE\nQREXEC_SERVICE_FULL_NAME\nQREXEC_SERVICE_PATH\n";
    assert_eq!(String::from_utf8(heard.output).unwrap(), expected);
}

#[test]
fn every_exit_code_and_signals() {
    let world = World::new();
    let mut qube = world.qube(7);
    qube.service("test.Exit", "exit $1");
    qube.service("test.Kill", "kill -$1 $$");
    for code in 0..=255 {
        let heard = call(&world, &mut qube, &format!("test.Exit+{code}")).rest();
        assert_eq!(heard.code, Some(code));
        qube.expect_terminated(0, PORT.into());
    }
    // None that whoever started the tests may have had ignored, as nohup does with SIGHUP.
    for signal in [6, 9, 13, 14, 15] {
        let heard = call(&world, &mut qube, &format!("test.Kill+{signal}")).rest();
        assert_eq!(heard.code, Some(128 + signal));
        qube.expect_terminated(0, PORT.into());
    }
}

#[test]
fn failed_starts_are_told_over_the_data_channel() {
    let world = World::new();
    let mut qube = world.qube(7);
    qube.service("test.Good", "exit 0");
    qube.service("test.Bad", "exit 0");
    qube.config("test.Bad", "force-user=root\n");
    let user = own_user();
    for (text, code) in [
        (format!("{user}:QUBESRPC test.None+ dom0"), 127),
        (format!("{user}:QUBESRPC test.Bad+ dom0"), 125),
        (format!("{user}:QUBESRPCx"), 125),
        ("no colon".to_owned(), 125),
        ("somebody-else:QUBESRPC test.Good+ dom0".to_owned(), 125),
        (format!("{user}:QUBESRPC test.Good+ dom0"), 0),
        (format!("{user}:exit 3"), 3),
    ] {
        let heard = command(&world, &mut qube, &text).rest();
        assert_eq!((heard.code, heard.output, heard.errors), (Some(code), vec![], vec![]), "{text}");
        assert_eq!(heard.ends.len(), 2, "both streams are ended: {text}");
        qube.expect_terminated(0, PORT.into());
        if !text.ends_with('3') {
            let heard = just_exec(&world, &mut qube, &text);
            assert_eq!((heard.code, heard.ends), (Some(code), vec![]), "{text}");
        }
    }
}

#[test]
fn input_may_end_long_before_output_and_the_reverse() {
    let world = World::new();
    let mut qube = world.qube(7);
    qube.service("test.Late", "cat >/dev/null; echo late; exit 1");
    let mut caller = call(&world, &mut qube, "test.Late+");
    caller.send(&Message::Stdin(Vec::new()));
    let heard = caller.rest();
    assert_eq!((heard.output, heard.code), (b"late\n".to_vec(), Some(1)));
    qube.expect_terminated(0, PORT.into());

    qube.service("test.Early", "exec >&-; cat >&2; exit 2");
    let mut caller = call(&world, &mut qube, "test.Early+");
    assert_eq!(caller.next(), Some(Message::Stdout(Vec::new())), "while the service reads on");
    caller.send(&Message::Stdin(b"more".to_vec()));
    caller.send(&Message::Stdin(Vec::new()));
    let heard = caller.rest();
    assert_eq!((heard.errors, heard.code), (b"more".to_vec(), Some(2)));
}

#[test]
fn just_exec_reports_the_start_and_not_the_end() {
    let world = World::new();
    let mut qube = world.qube(7);
    let (begun, end, ended) = (qube.dir.join("begun"), qube.dir.join("end"), qube.dir.join("ended"));
    let script = format!(
        "touch {}; until [ -e {} ] || ! [ -e \"$0\" ]; do sleep 0.01; done; touch {}",
        begun.display(),
        end.display(),
        ended.display()
    );
    qube.service("test.Slow", &script);
    let heard = just_exec(&world, &mut qube, &format!("{}:QUBESRPC test.Slow+ dom0", own_user()));
    assert_eq!((heard.code, heard.ends), (Some(0), vec![]));
    wait_until("it runs", || begun.exists());
    assert!(!ended.exists());
    fs::write(end, "").unwrap();
    wait_until("it ends", || ended.exists());
}

#[test]
fn a_socket_service() {
    let world = World::new();
    let mut qube = world.qube(7);
    let listener = UnixListener::bind(qube.dir.join("services/test.Socket")).unwrap();
    let service = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        stream.write_all(b"reply").unwrap();
        got
    });
    let mut caller = call(&world, &mut qube, "test.Socket+x");
    assert_eq!(caller.next(), Some(Message::Stderr(Vec::new())), "it has no standard error");
    caller.send(&Message::Stdin(b"question".to_vec()));
    caller.send(&Message::Stdin(Vec::new()));
    let heard = caller.rest();
    assert_eq!((heard.output, heard.code), (b"reply".to_vec(), Some(0)));
    assert_eq!(service.join().unwrap(), b"test.Socket+x dom0\0question");
}

#[test]
fn calls_wait_for_the_session_together() {
    let world = World::new();
    let mut qube = world.qube(7);
    let (started, go) = (qube.dir.join("started"), qube.dir.join("go"));
    let script = format!(
        "read user; echo \"$user $QREXEC_REMOTE_DOMAIN $0\" >> {0}; until [ -e {1} ] || ! [ -e \"$0\" ]; do sleep 0.01; done; exit 1",
        started.display(),
        go.display()
    );
    qube.service("qubes.WaitForSession", &script);
    qube.service("test.Gui", "echo gui");
    qube.config("test.Gui", "wait-for-session=1\n");
    let text = format!("{}:QUBESRPC test.Gui+ dom0", own_user());
    let ports = [513, 514, 515];
    let servers = ports.map(|port| world.data_server(0, qube.id, port));
    for port in ports {
        qube.daemon.send(&Message::ExecCmdline(Exec::command(0, port.into(), text.as_bytes())));
    }
    wait_until("the waiting process runs", || started.exists());
    let nogui = text.replace("QUBESRPC", "nogui:QUBESRPC");
    let server = world.data_server(0, qube.id, 516);
    qube.daemon.send(&Message::ExecCmdline(Exec::command(0, 516, nogui.as_bytes())));
    assert_eq!(Peer::caller(server).rest().output, b"gui\n", "nogui does not wait");
    qube.expect_terminated(0, 516);
    // On a busy machine some of the three have not come to the waiting yet, and would start another wait.
    let agent = qube.agent.0.id();
    wait_until("two calls wait for the third one's process", || {
        let threads = fs::read_dir(format!("/proc/{agent}/task")).unwrap().flatten();
        let text = |path: std::path::PathBuf| fs::read_to_string(path).unwrap_or_default();
        // futex(2), by its number on this machine.
        let futex = format!("{} ", nix::libc::SYS_futex);
        threads
            .filter(|thread| {
                text(thread.path().join("comm")).starts_with("call ")
                    && text(thread.path().join("syscall")).starts_with(&futex)
            })
            .count()
            == 2
    });
    fs::write(&go, "").unwrap();
    for server in servers {
        assert_eq!(Peer::caller(server).rest().output, b"gui\n");
    }
    let lines = fs::read_to_string(started).unwrap();
    let path = qube.dir.join("services/qubes.WaitForSession");
    // The kernel gives a script its path; argv[0] of a program is the bare name.
    assert_eq!(lines, format!("{} dom0 {}\n", own_user(), path.display()), "one waiting process for all");
}

fn trigger(service: &[u8]) -> Vec<u8> {
    Message::TriggerService4(Trigger::new(b"src", b"@dispvm", Ident([0; 32]), service)).to_bytes()
}

fn ask(qube: &mut Qube) -> (UnixStream, Trigger) {
    let mut local = UnixStream::connect(qube.socket()).unwrap();
    local.set_read_timeout(Some(SAFETY_NET)).unwrap();
    local.write_all(&trigger(b"test.Service")).unwrap();
    (local, qube.request())
}

#[test]
fn requests_of_local_programs() {
    let world = World::new();
    let mut qube = world.qube(7);
    assert_eq!(fs::metadata(qube.socket()).unwrap().permissions().mode() & 0o777, 0o777);
    let (mut first, request) = ask(&mut qube);
    assert_eq!(request.source, Trigger::new(b"src", b"", request.ident, b"").source);
    assert_eq!(request.service, b"test.Service\0");
    assert!(request.ident.text().starts_with(b"SOCKET"));
    let (mut second, other) = ask(&mut qube);
    assert_ne!(request.ident, other.ident);
    qube.refuse(other.ident);
    assert_eq!(second.read(&mut [0; 9]).unwrap(), 0, "refused: closed");
    first.shutdown(std::net::Shutdown::Write).unwrap();
    qube.daemon.send(&Message::ServiceConnect(Exec::request(3, 514, request.ident)));
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [&3u32.to_ne_bytes()[..], &514u32.to_ne_bytes()].concat());
    qube.expect_terminated(3, 514);
    qube.daemon.send(&Message::ServiceConnect(Exec::request(3, 514, request.ident)));
    qube.daemon.send(&Message::ServiceConnect(Exec::command(3, 514, b"junk")));
    ask(&mut qube);
}

#[test]
fn a_program_that_leaves_early_frees_the_port() {
    let world = World::new();
    let mut qube = world.qube(7);
    let (local, request) = ask(&mut qube);
    drop(local);
    qube.daemon.send(&Message::ServiceConnect(Exec::request(3, 514, request.ident)));
    qube.expect_terminated(3, 514);
}

#[test]
fn slow_and_broken_local_programs_stall_nobody() {
    let world = World::new();
    let mut qube = world.qube(7);
    let mut slow = UnixStream::connect(qube.socket()).unwrap();
    slow.write_all(&trigger(b"slow")[..5]).unwrap();
    for bytes in [
        Header { kind: message_type::TRIGGER_SERVICE3, len: 100 }.to_bytes().to_vec(),
        Header { kind: message_type::TRIGGER_SERVICE4, len: 160 }.to_bytes().to_vec(),
        trigger(&[b'a'; 5000]),
    ] {
        let mut broken = UnixStream::connect(qube.socket()).unwrap();
        broken.set_read_timeout(Some(SAFETY_NET)).unwrap();
        broken.write_all(&bytes).unwrap();
        assert!(matches!(broken.read(&mut [0; 9]), Ok(0) | Err(_)));
    }
    ask(&mut qube);
    slow.write_all(&trigger(b"slow")[5..]).unwrap();
    assert_eq!(qube.request().service, b"slow\0");
}

#[test]
fn a_lost_daemon_ends_the_agent_and_its_calls() {
    let world = World::new();
    let mut qube = world.qube(7);
    let (pid, hung_up) = (qube.dir.join("pid"), qube.dir.join("hung-up"));
    qube.service(
        "test.Wait",
        &format!("echo $$ > {0}.new; mv {0}.new {0}; cat; touch {1}", pid.display(), hung_up.display()),
    );
    let mut caller = call(&world, &mut qube, "test.Wait+");
    wait_until("the service runs", || pid.exists());
    let Qube { mut agent, daemon, .. } = qube;
    drop(daemon);
    assert_eq!(agent.wait().code(), Some(1));
    assert_eq!(caller.rest().code, None, "no exit code: the call is lost");
    wait_until("the service sees the end of its input", || hung_up.exists());
}

#[test]
fn sigterm_ends_it_cleanly() {
    let world = World::new();
    let mut qube = world.qube(7);
    let pid = Pid::from_raw(i32::try_from(qube.agent.0.id()).unwrap());
    kill(pid, Signal::SIGUSR1).unwrap();
    ask(&mut qube);
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(qube.agent.wait().code(), Some(0));
    assert!(!qube.socket().exists());
}

#[test]
fn a_caller_that_vanishes_takes_its_service_along() {
    let world = World::new();
    let mut qube = world.qube(7);
    let hung_up = qube.dir.join("hung-up");
    qube.service("test.Wait", &format!("echo x; cat; touch {}", hung_up.display()));
    let mut caller = call(&world, &mut qube, "test.Wait+");
    assert_eq!(caller.next(), Some(Message::Stdout(b"x\n".to_vec())));
    drop(caller);
    wait_until("the service sees the end of its input", || hung_up.exists());
    qube.expect_terminated(0, PORT.into());
}

#[test]
fn a_daemon_that_breaks_the_protocol_is_left() {
    for bytes in [
        Header { kind: message_type::TRIGGER_SERVICE4, len: 170 }.to_bytes(),
        Header { kind: message_type::EXEC_CMDLINE, len: 8 }.to_bytes(),
        Header { kind: message_type::EXEC_CMDLINE, len: u32::MAX }.to_bytes(),
        Header { kind: message_type::SERVICE_REFUSED, len: 33 }.to_bytes(),
    ] {
        let world = World::new();
        let mut qube = world.qube(7);
        (&qube.daemon.vchan).write_all(&bytes).unwrap();
        assert_eq!(qube.agent.wait().code(), Some(1));
    }
}

#[test]
fn readiness_is_told() {
    let world = World::new();
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let _qube = world.qube_with(7, env!("CARGO_BIN_EXE_qrexec-agent").as_ref(), |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    socket.set_read_timeout(Some(SAFETY_NET)).unwrap();
    let mut buffer = [0; 20];
    let len = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"READY=1");
}

#[test]
fn many_calls_at_once() {
    let world = World::new();
    let mut qube = world.qube(7);
    qube.service("test.Cat", "cat; exit 9");
    let text = format!("{}:QUBESRPC test.Cat+ dom0", own_user());
    let servers: Vec<_> = (513..545).map(|port| (port, world.data_server(0, qube.id, port))).collect();
    for (port, _) in &servers {
        qube.daemon.send(&Message::ExecCmdline(Exec::command(0, (*port).into(), text.as_bytes())));
    }
    let mut callers: Vec<_> =
        servers.into_iter().map(|(port, server)| (port, Peer::caller(server))).collect();
    for (port, caller) in &mut callers {
        caller.send(&Message::Stdin(port.to_string().into_bytes()));
        caller.send(&Message::Stdin(Vec::new()));
    }
    for (port, caller) in &mut callers {
        let heard = caller.rest();
        assert_eq!((heard.output, heard.code), (port.to_string().into_bytes(), Some(9)));
    }
    let mut ended: Vec<_> = callers
        .iter()
        .map(|_| match qube.daemon.next() {
            Some(Message::ConnectionTerminated { domain: 0, port }) => port,
            other => panic!("{other:?}"),
        })
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, (513..545).collect::<Vec<_>>());
}
