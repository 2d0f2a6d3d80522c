//! Everything is killed once, mid-stream: the caller ends, the original stays, nothing is left after the next start.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Serve, kill, processes_with, text};
use fixture::eventually;
use std::process::{Child, Command, Stdio};

/// A host whose application never ends, and a call that is in it; the name of its disposable.
fn call_in_progress() -> (Serve, Child, String) {
    let serve = Serve::start(&["--preload=1", "--with", "sh -c 'touch ~/running; sleep 1000'"]);
    serve.put("work", "f", b"original");
    let call = serve.exec("work", ["qvm-open-in-dvm", "f"]).spawn().unwrap();
    let name = serve.running_application();
    (serve, call, name)
}

/// The one process of this host that runs under `name`.
fn process(serve: &Serve, name: &str) -> Vec<u32> {
    let state = serve.state.to_string_lossy().into_owned();
    processes_with(&state)
        .into_iter()
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let first = text(line.split(|byte| *byte == 0).next().unwrap_or_default());
            first.rsplit('/').next() == Some(name)
        })
        .collect()
}

fn ends_with_an_error(mut call: Child) {
    let mut status = None;
    eventually("the caller ends", || {
        status = call.try_wait().unwrap();
        status.is_some()
    });
    assert!(!status.unwrap().success());
}

#[test]
fn p5_a_killed_service_executable_ends_the_call_and_its_disposable() {
    for signal in ["TERM", "KILL"] {
        let (mut serve, call, _) = call_in_progress();
        let services = process(&serve, "qubes.OpenInVM");
        assert!(!services.is_empty());
        services.into_iter().for_each(|pid| kill(pid, signal));
        ends_with_an_error(call);
        assert_eq!(serve.get("work", "f"), b"original");
        eventually("only the waiting disposable is left", || disposables(&serve) == 1);
        assert!(serve.stop());
    }
}

#[test]
fn p5_a_killed_agent_ends_the_call() {
    let (mut serve, call, name) = call_in_progress();
    if common::on_xen() {
        kill_agent(&serve, &name);
    } else {
        // Both disposables lose their agent: the waiting one must be replaced.
        let agents = agents(&serve, |name| name.starts_with("disp"));
        assert!(!agents.is_empty());
        agents.into_iter().for_each(|pid| kill(pid, "KILL"));
    }
    ends_with_an_error(call);
    assert_eq!(serve.get("work", "f"), b"original");
    assert!(serve.stop());
}

/// Ends the agent of a qube from within: on Xen its processes are nobody else's to see.
fn kill_agent(serve: &Serve, qube: &str) {
    // The command ends with its agent, whatever it says.
    drop(serve.run(qube, ["sh", "-c", "kill -9 $(pidof qrexec-agent)"]));
}

/// The registry of domains names each qube's first process, whose only child is the agent.
fn agents(serve: &Serve, is_wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    let mut agents = Vec::new();
    for entry in std::fs::read_dir(serve.state.join("run/domains")).unwrap().flatten() {
        let record = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let value = |key: &str| record.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
        if !value("name=").is_some_and(|name| is_wanted(&name)) {
            continue;
        }
        let init = value("init=").unwrap();
        let init = init.split('@').next().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
        agents.extend(children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    agents
}

fn disposables(serve: &Serve) -> usize {
    let qubes = std::fs::read_dir(serve.state.join("qubes")).unwrap().flatten();
    qubes.filter(|entry| entry.file_name().to_string_lossy().starts_with("disp")).count()
}

#[test]
fn p5_a_killed_host_leaves_nothing_after_the_next_start() {
    let (mut serve, call, _) = call_in_progress();
    let state = serve.state.clone();
    kill(serve.child.id(), "KILL");
    serve.child.wait().unwrap();
    ends_with_an_error(call);
    let mut next = Serve::start_in(&state, &["--preload=0"]);
    // On Xen a home is in memory and goes with its qube (docs/xen.md).
    if !common::on_xen() {
        assert_eq!(next.get("work", "f"), b"original");
    }
    eventually("no disposable is left", || disposables(&next) == 0);
    assert!(next.stop());
    let name = state.to_string_lossy().into_owned();
    eventually("no process is left", || processes_with(&name).is_empty());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&name), "{mounts}");
    assert!(!state.join("run/qubesd.sock").exists());
}

#[test]
fn a_signal_ends_open_and_takes_everything_down() {
    if common::left_out_on_xen("open FILE is refused there (docs/xen.md)") {
        return;
    }
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let file = directory.path().join("f");
        std::fs::write(&file, "original").unwrap();
        let state = directory.path().join("state");
        let mut child = Command::new(common::HOST)
            .args(["open", "--preload=1", "--with", "sh -c 'sleep 1000'", "--state"])
            .arg(&state)
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the call is under way", || {
            let used = state.join("run/dispvm/default-dvm/used");
            std::fs::read_dir(used).is_ok_and(|mut entries| entries.next().is_some())
        });
        kill(child.id(), signal);
        assert_eq!(child.wait().unwrap().code(), Some(expected));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "original");
        let name = state.to_string_lossy().into_owned();
        eventually("no process is left", || processes_with(&name).is_empty());
    }
}

#[test]
fn m47_a_disposable_goes_with_the_qube_that_opened_it() {
    let (mut serve, call, _) = call_in_progress();
    // The application is silent: nothing that it writes could fail.
    if common::on_xen() {
        kill_agent(&serve, "work");
    } else {
        let opener = agents(&serve, |name| name == "work");
        assert_eq!(opener.len(), 1);
        opener.into_iter().for_each(|pid| kill(pid, "KILL"));
    }
    ends_with_an_error(call);
    eventually("only the waiting disposable is left", || disposables(&serve) == 1);
    assert!(serve.stop());
}
