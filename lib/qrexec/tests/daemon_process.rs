//! The daemon as a process: start, end, loss of the agent, garbage (spec/qrexec-wire.md 2.1, 2.5, sections 3 and 4).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod daemon_support;

use daemon_support::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

const NAMES: [&str; 3] =
    ["run/qrexec.42", "run/qrexec.work", "run/qrexec.uuid:01234567-89ab-4def-8123-00000000002a"];

#[test]
fn sockets_come_with_hello_and_go_with_the_daemon() {
    let world = World::new();
    let door = world.agent(42);
    let mut daemon = world.daemon(42, "work");
    let mut agent = door.accept();
    for name in NAMES {
        assert!(fs::symlink_metadata(world.path(name)).is_err(), "no sockets before HELLO");
    }
    agent.send(HELLO, &4u32.to_ne_bytes());
    NAMES.iter().for_each(|name| world.wait_for(name));
    assert_eq!(fs::metadata(world.path(NAMES[0])).unwrap().permissions().mode() & 0o777, 0o777);
    assert_eq!(fs::read_link(world.path(NAMES[1])).unwrap(), PathBuf::from("qrexec.42"));
    assert!(daemon.terminate().success());
    for name in NAMES {
        assert!(fs::symlink_metadata(world.path(name)).is_err(), "{name} is left");
    }
}

#[test]
fn a_daemon_leaves_its_successors_sockets_alone() {
    let world = World::new();
    let (mut old, _old_agent) = world.qube(42, "work");
    let (_new, mut agent) = {
        fs::remove_file(world.path("run/qrexec.work")).unwrap();
        world.qube(43, "work")
    };
    assert!(old.terminate().success());
    let mut client = world.client("work");
    client.send(JUST_EXEC, &params(0, 0, b"user:x\0"));
    assert_eq!(agent.receive().0, JUST_EXEC);
}

#[test]
fn the_agents_garbage_ends_only_its_own_daemon() {
    let world = World::new();
    let (mut other, _other_agent) = world.qube(43, "vault");
    for garbage in [
        message(0x999, b"x"),
        message(HELLO, &4u32.to_ne_bytes()),
        message(CONNECTION_TERMINATED, &params(0, 512, b"")),
        message(TRIGGER_SERVICE4, &[0; 160]),
        [TRIGGER_SERVICE4.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat(),
        vec![0xff; 100_000],
    ] {
        let (mut daemon, mut agent) = world.qube(42, "work");
        // The daemon may have seen enough before it has seen all.
        drop(agent.stream.write_all(&garbage));
        assert_eq!(daemon.wait().code(), Some(1));
        assert!(agent.is_ended());
        NAMES.iter().for_each(|name| assert!(fs::symlink_metadata(world.path(name)).is_err()));
    }
    assert!(other.is_running());
    world.client("vault");
}

#[test]
fn hello_that_is_none_ends_the_daemon() {
    let world = World::new();
    for hello in
        [message(HELLO, &1u32.to_ne_bytes()), message(HELLO, b"12345678"), message(TRIGGER_SERVICE4, b"1234")]
    {
        let door = world.agent(42);
        let mut daemon = world.daemon(42, "work");
        let mut agent = door.accept();
        agent.stream.write_all(&hello).unwrap();
        assert_eq!(daemon.wait().code(), Some(1));
    }
}

#[test]
fn a_clients_garbage_closes_only_that_client() {
    let world = World::new();
    let (_daemon, mut agent) = world.qube(42, "work");
    let mut good = world.client("work");
    for garbage in [
        message(EXEC_CMDLINE, &params(0, 0, b"")),
        message(EXEC_CMDLINE, &params(0, 0, b"user:no end")),
        message(EXEC_CMDLINE, &params(0, 1, b"user:x\0")),
        message(SERVICE_CONNECT, &params(0, 0, b"SOCKET1\0")),
        [EXEC_CMDLINE.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat(),
        vec![0xff; 70_000],
    ] {
        let mut bad = world.client("work");
        drop(bad.stream.write_all(&garbage));
        assert!(bad.is_ended());
    }
    good.send(EXEC_CMDLINE, &params(0, 0, b"user:x\0"));
    assert_eq!(good.receive(), (EXEC_CMDLINE, params(42, 513, b"")));
    assert_eq!(agent.receive(), (EXEC_CMDLINE, params(0, 513, b"user:x\0")), "nothing before this");
}

#[test]
fn a_lost_agent_is_replaced() {
    let world = World::new();
    let (mut daemon, mut agent) = world.qube(42, "work");
    let mut client = world.client("work");
    client.send(EXEC_CMDLINE, &params(0, 0, b"user:x\0"));
    assert_eq!(client.receive().1, params(42, 513, b""));
    agent.receive();
    drop(agent);
    assert!(client.is_ended());
    NAMES.iter().for_each(|name| world.wait_gone(name));

    let mut agent = world.agent(42).accept_agent();
    NAMES.iter().for_each(|name| world.wait_for(name));
    let mut client = world.client("work");
    client.send(EXEC_CMDLINE, &params(0, 0, b"user:y\0"));
    assert_eq!(agent.receive().1, params(0, 514, b"user:y\0"), "nobody said that port 513 is free");
    assert!(daemon.is_running());
    drop(agent);
    NAMES.iter().for_each(|name| world.wait_gone(name));
    assert!(daemon.terminate().success(), "it ends while it waits for an agent, too");
}

#[test]
fn an_agent_that_does_not_read_stops_clients_only() {
    let world = World::new();
    let (mut daemon, mut agent) = world.qube(42, "work");
    let text = [b"user:".as_slice(), &[b'x'; 4000], b"\0"].concat();
    // 8 MB: far more than any buffer on the way.
    let path = world.path("run/qrexec.work");
    let writer = std::thread::spawn({
        let text = text.clone();
        move || {
            for _ in 0..2000 {
                let mut client = Peer::new(std::os::unix::net::UnixStream::connect(&path).unwrap());
                client.stream.write_all(&message(HELLO, &3u32.to_ne_bytes())).unwrap();
                client.stream.write_all(&message(EXEC_CMDLINE, &params(0, 600, &text))).unwrap();
                assert_eq!(client.receive().0, HELLO);
            }
        }
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(daemon.is_running());
    for _ in 0..2000 {
        assert_eq!(agent.receive().1.len(), text.len() + 8);
    }
    writer.join().unwrap();
}

#[test]
fn a_daemon_without_descriptors_waits_for_some() {
    let world = World::new();
    let door = world.agent(42);
    let daemon = world.command(42, "work", &["-D"]);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -n 20; exec \"$0\" \"$@\""])
        .arg(daemon.get_program())
        .args(daemon.get_args());
    limited.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut daemon = Daemon::from(limited.spawn().unwrap());
    let mut agent = door.accept_agent();
    world.wait_for("run/qrexec.work");
    let path = world.path("run/qrexec.work");
    let crowd: Vec<_> = (0..30).map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap()).collect();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert!(daemon.is_running());
    drop(crowd);
    let mut client = world.client("work");
    client.send(JUST_EXEC, &params(0, 0, b"user:x\0"));
    assert_eq!(agent.receive().0, JUST_EXEC);
}

#[test]
fn no_agent_in_time_is_exit_code_3() {
    let world = World::new();
    for mode in [&["-D"][..], &["-q"]] {
        let status = world.command(42, "work", mode).env("QREXEC_STARTUP_TIMEOUT", "1").status().unwrap();
        assert_eq!(status.code(), Some(3), "{mode:?}");
    }
}

#[test]
fn usage_is_exit_code_1() {
    let world = World::new();
    assert_eq!(world.daemon_with(0, "work", &["-D"]).wait().code(), Some(1));
    assert_eq!(world.daemon_with(42, "../work", &["-D"]).wait().code(), Some(1));
    assert_eq!(world.daemon_with(42, "work", &["-h"]).wait().code(), Some(1));
}

#[test]
fn the_parent_waits_until_the_sockets_are_there() {
    let world = World::new();
    world.service("test.Pid", "echo $PPID");
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let door = world.agent(42);
    let parent = std::thread::scope(|scope| {
        let parent = scope.spawn(|| world.command(42, "work", &["-q"]).status().unwrap());
        let agent = door.accept_agent();
        (parent.join().unwrap(), agent)
    });
    let (status, mut agent) = parent;
    assert!(status.success());
    NAMES.iter().for_each(|name| assert!(fs::symlink_metadata(world.path(name)).is_ok(), "{name}"));
    // The daemon behind it works, and is found out about and ended.
    agent.trigger("S1", "dom0", "test.Pid");
    let (_, port) = agent.connected("S1");
    let (pid, code) = world.vchan_server(42, 0, port).accept_caller().drain_service();
    assert_eq!(code, 0);
    let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    NAMES.iter().for_each(|name| world.wait_gone(name));
}

#[test]
fn nowait_returns_at_once_and_the_daemon_comes_later() {
    let world = World::new();
    world.service("test.Pid", "echo $PPID");
    let _policy = world.policy(&allow("dom0", "dom0", ""));
    let status = world.command(42, "work", &[]).env("QREXEC_STARTUP_NOWAIT", "").status().unwrap();
    assert!(status.success());
    let mut agent = world.agent(42).accept_agent();
    NAMES.iter().for_each(|name| world.wait_for(name));
    agent.trigger("S1", "dom0", "test.Pid");
    let (_, port) = agent.connected("S1");
    let (pid, _) = world.vchan_server(42, 0, port).accept_caller().drain_service();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.trim().parse().unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    NAMES.iter().for_each(|name| world.wait_gone(name));
}
