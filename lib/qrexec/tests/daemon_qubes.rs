//! Calls of a qube to other qubes and to disposables (spec/qrexec-wire.md 6.1, 6.2, 6.4), with real daemons.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod daemon_support;

use daemon_support::*;
use std::sync::{Arc, Mutex};

#[test]
fn a_call_from_dom0() {
    let world = World::new();
    let (_daemon, mut agent) = world.qube(42, "work");
    for name in ["42", "work", &format!("uuid:{}", uuid(42))] {
        let mut client = world.client(name);
        client.send(EXEC_CMDLINE, &params(0, 0, b"DEFAULT:ls\0"));
        assert_eq!(client.receive(), (EXEC_CMDLINE, params(42, 513, b"")));
        assert_eq!(agent.receive(), (EXEC_CMDLINE, params(0, 513, b"user:ls\0")));
        agent.send(CONNECTION_TERMINATED, &params(0, 513, b""));
        assert!(client.is_ended());
    }
}

#[test]
fn a_call_to_a_running_qube() {
    let world = World::new();
    let target = format!("vault\ntarget_uuid=uuid:{}", uuid(43));
    let _policy = world.policy(&allow(&target, "vault", ""));
    let (_source_daemon, mut source) = world.qube(42, "work");
    let (_target_daemon, mut target) = world.qube(43, "vault");
    for port in [513, 515] {
        source.trigger("SOCKET5", "vault", "test.Service+arg");
        let (kind, body) = target.receive();
        assert_eq!(
            (kind, body),
            (EXEC_CMDLINE, params(42, port, b"user:QUBESRPC test.Service+arg work\0")),
            "the daemon of the higher id gives odd ports"
        );
        assert_eq!(source.connected("SOCKET5"), (43, port));
    }
}

#[test]
fn the_answer_of_the_policy_replaces_what_was_asked() {
    let world = World::new();
    let _policy = world.policy(&allow("relay", "remote", "\nservice=x.Relay+remote+s\npolicy_source=far"));
    let (_source_daemon, mut source) = world.qube(42, "work");
    let (_target_daemon, mut target) = world.qube(7, "relay");
    source.trigger("SOCKET5", "remote", "test.Service");
    assert_eq!(
        target.receive(),
        (EXEC_CMDLINE, params(42, 514, b"user:QUBESRPC x.Relay+remote+s far\0")),
        "the daemon of the lower id gives even ports"
    );
    assert_eq!(source.connected("SOCKET5"), (7, 514));
}

#[test]
fn a_target_that_does_not_run_is_started() {
    let world = World::new();
    let (base, started) = (Arc::new(world), Qube::default());
    let (weak_world, weak_qube) = (Arc::downgrade(&base), Arc::downgrade(&started));
    let qubesd = base.qubesd(move |question| {
        assert_eq!(question, "admin.vm.Start+ vault");
        *weak_qube.upgrade().unwrap().lock().unwrap() = Some(weak_world.upgrade().unwrap().qube(43, "vault"));
        b"2\0QubesVMNotHaltedError\0\0someone else was faster\0".to_vec()
    });
    let _policy = base.policy(&allow("vault", "vault", ""));
    let (_daemon, mut source) = base.qube(42, "work");
    source.trigger("SOCKET5", "vault", "test.Service");
    assert_eq!(source.connected("SOCKET5"), (43, 513));
    let mut target = started.lock().unwrap().take().unwrap();
    assert_eq!(target.1.receive(), (EXEC_CMDLINE, params(42, 513, b"user:QUBESRPC test.Service+ work\0")));
    assert_eq!(qubesd.question(), "admin.vm.Start+ dom0 name vault\0");
}

#[test]
fn a_target_that_may_not_be_started_is_refused() {
    let world = World::new();
    let qubesd = world.qubesd(|_| b"0\0".to_vec());
    let _policy = world.policy(&allow("vault", "vault", "").replace("True", "False"));
    let (_daemon, mut source) = world.qube(42, "work");
    source.trigger("SOCKET5", "vault", "test.Service");
    source.refused("SOCKET5");
    assert!(!qubesd.has_question());
}

#[test]
fn a_target_that_cannot_be_started_is_refused() {
    let world = World::new();
    let _qubesd = world.qubesd(|_| b"2\0QubesMemoryError\0\0no memory\0".to_vec());
    let _policy = world.policy(&allow("vault", "vault", ""));
    let (_daemon, mut source) = world.qube(42, "work");
    source.trigger("SOCKET5", "vault", "test.Service");
    source.refused("SOCKET5");
}

/// A daemon and its agent that appear during a test. The server's thread outlives the test, so it must not own them.
type Qube = Arc<Mutex<Option<(Daemon, Peer)>>>;

/// A qubesd that makes one disposable, and brings it to life when it is started.
fn with_disposable(world: &Arc<World>, alive: &Qube, uuid_form: bool) -> Server {
    let (world_then, alive) = (Arc::downgrade(world), Arc::downgrade(alive));
    world.qubesd(move |question| {
        let name = if uuid_form { format!("uuid:{}", uuid(50)) } else { "disp50".to_owned() };
        if question.starts_with("admin.vm.CreateDisposable+ ") {
            format!("0\0{name}").into_bytes()
        } else if *question == format!("admin.vm.Start+ {name}") {
            let qube = world_then.upgrade().unwrap().qube(50, "disp50");
            *alive.upgrade().unwrap().lock().unwrap() = Some(qube);
            b"0\0".to_vec()
        } else {
            assert_eq!(question, format!("admin.vm.Kill+ {name}"));
            b"0\0".to_vec()
        }
    })
}

#[test]
fn p2_a_disposable_lives_for_one_call() {
    for uuid_form in [true, false] {
        let world = Arc::new(World::new());
        let alive = Qube::default();
        let qubesd = with_disposable(&world, &alive, uuid_form);
        let template =
            if uuid_form { format!("\ntarget_uuid=@dispvm:uuid:{}", uuid(9)) } else { String::new() };
        let _policy = world.policy(&allow("@dispvm:dvm", "@dispvm", &template));
        let (_daemon, mut source) = world.qube(42, "work");
        source.trigger("SOCKET5", "@dispvm", "qubes.OpenInVM");
        assert_eq!(source.connected("SOCKET5"), (50, 513));
        let (base, payload) =
            if uuid_form { (format!("uuid:{}", uuid(9)), "uuid") } else { ("dvm".into(), "") };
        assert_eq!(qubesd.question(), format!("admin.vm.CreateDisposable+ dom0 name {base}\0{payload}"));
        assert!(qubesd.question().starts_with("admin.vm.Start+ "));
        let (_disposable_daemon, mut disposable) = alive.lock().unwrap().take().unwrap();
        assert_eq!(
            disposable.receive(),
            (EXEC_CMDLINE, params(42, 513, b"user:QUBESRPC qubes.OpenInVM+ work\0"))
        );
        assert!(!qubesd.has_question(), "it lives as long as the call");
        disposable.send(CONNECTION_TERMINATED, &params(42, 513, b""));
        assert!(qubesd.question().starts_with("admin.vm.Kill+ "));
    }
}

#[test]
fn p2_a_disposable_does_not_outlive_a_failed_call() {
    // The disposable never has a daemon: after its start nothing can be reached.
    let world = World::new();
    let qubesd = world.qubesd(|question| {
        if question.contains("CreateDisposable") { b"0\0disp50".to_vec() } else { b"0\0".to_vec() }
    });
    let _policy = world.policy(&allow("@dispvm:dvm", "@dispvm", ""));
    let (_daemon, mut source) = world.qube(42, "work");
    source.trigger("SOCKET5", "@dispvm", "qubes.OpenInVM");
    source.refused("SOCKET5");
    for method in ["admin.vm.CreateDisposable", "admin.vm.Start", "admin.vm.Kill"] {
        assert!(qubesd.question().starts_with(method));
    }
}

#[test]
fn p2_a_disposable_does_not_outlive_the_daemon() {
    let world = Arc::new(World::new());
    let alive = Qube::default();
    let qubesd = with_disposable(&world, &alive, true);
    let _policy =
        world.policy(&allow("@dispvm:dvm", "@dispvm", &format!("\ntarget_uuid=@dispvm:uuid:{}", uuid(9))));
    let (mut daemon, mut source) = world.qube(42, "work");
    source.trigger("SOCKET5", "@dispvm", "qubes.OpenInVM");
    source.connected("SOCKET5");
    assert!(daemon.terminate().success());
    for method in ["admin.vm.CreateDisposable", "admin.vm.Start", "admin.vm.Kill"] {
        assert!(qubesd.question().starts_with(method));
    }
}

#[test]
fn a_service_connect_by_someone_else_is_taken() {
    // What qrexec-policy-exec does when it runs a call by itself.
    let world = World::new();
    let (asked, go) = (world.path("asked"), world.path("go"));
    world.program(
        "policy-exec",
        &format!(
            "echo asked > '{}'; until [ -e '{}' ] || ! [ -e \"$0\" ]; do sleep 0.01; done; exit 1",
            asked.display(),
            go.display()
        ),
    );
    let (_daemon, mut agent) = world.qube(42, "work");
    agent.trigger("SOCKET11", "vault", "test.Service");
    world.read("asked");
    let text = ident32("SOCKET11");
    let mut client = world.client("work");
    client.send(SERVICE_CONNECT, &params(43, 513, &text));
    assert_eq!(agent.connected("SOCKET11"), (43, 513));
    let mut second = world.client("work");
    second.send(SERVICE_CONNECT, &params(43, 513, &text));
    assert!(second.is_ended(), "one answer for one request");
    std::fs::write(&go, "").unwrap();
}
