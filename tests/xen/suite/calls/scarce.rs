//! Too little of what the machine has: xenstore's time, memory.

use crate::EDITOR;
use crate::common::{HOST, Serve, code, kill, text};
use crate::domains::{Stranger, waiting};
use admin::Client;
use fixture::eventually;
use hypervisor::xen::Xen;
use names::{QubeName, QubeRef};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

fn xenstored() -> u32 {
    std::fs::read_to_string("/run/xenstored.pid").unwrap().trim().parse().unwrap()
}

/// Xenstore answers in 100 ms out of each 400.
struct Slow {
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Slow {
    fn start() -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let (seen, pid) = (ends.clone(), xenstored());
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                kill(pid, "STOP");
                thread::sleep(Duration::from_millis(300));
                kill(pid, "CONT");
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn a_slow_xenstore_slows_calls_and_one_that_hangs_breaks_none_for_good() {
    let serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    let call = || {
        serve.put("work", "report.txt", b"a draft\n");
        let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert_eq!(serve.get("work", "report.txt"), b"a final\n");
    };
    let slow = Slow::start();
    call();
    drop(slow);
    eventually("another one waits", || serve.place("ready").len() == 1);

    // It hangs for longer than a program waits for an answer (5 s).
    serve.put("work", "report.txt", b"a draft\n");
    kill(xenstored(), "STOP");
    let hanging = serve.exec("work", ["qvm-open-in-dvm", "report.txt"]).spawn().unwrap();
    thread::sleep(Duration::from_secs(12));
    kill(xenstored(), "CONT");
    let output = hanging.wait_with_output().unwrap();
    println!("\nfigure: exit code of a call while xenstore hung: {}", code(&output));
    let expected: &[u8] = if code(&output) == 0 { b"a final\n" } else { b"a draft\n" };
    assert_eq!(serve.get("work", "report.txt"), expected);
    eventually("another one waits", || serve.place("ready").len() == 1 && waiting().len() == 1);
    call();
}

/// A second template, for which none waits.
fn other_template(admin: &Client) -> QubeName {
    let name: QubeName = "other-dvm".parse().unwrap();
    admin.call("admin.vm.Create.AppVM", "system", "dom0", b"name=other-dvm label=red").unwrap();
    let reference = QubeRef::Name(name.clone());
    for feature in
        ["qrexec", "supported-rpc.qubes.WaitForRunningSystem", "supported-rpc.qubes.WaitForSession"]
    {
        admin.feature_set(&reference, feature, "1").unwrap();
    }
    admin.property_set(&reference, "template_for_dispvms", "True").unwrap();
    name
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p9_no_memory_for_one_more_refuses_a_cold_start_with_its_remedy_and_keeps_the_queue() {
    let serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    let admin = Client::new(serve.state.join("run/qubesd.sock"));
    let template = other_template(&admin);
    serve.put("work", "report.txt", b"a draft\n");
    let before = waiting();
    // Each of ours needs 192 MiB.
    let free = Xen::new().free_memory().unwrap() >> 20;
    let ballast = Stranger::paused("ballast", free - 120);
    let run = Command::new(HOST)
        .arg0("qvm-dispvm")
        .args(["run", "--state"])
        .arg(&serve.state)
        .args([&format!("--dispvm={template}"), "--", "true"])
        .output()
        .unwrap();
    let said = text(&run.stderr);
    assert_eq!(code(&run), 125, "{said}");
    for part in ["xl create", "too little memory is free", "preload fewer", "QUBES_XEN_MEMORY"] {
        assert!(said.contains(part), "no \"{part}\" in {said}");
    }
    let after: Vec<_> = waiting().into_iter().filter(|domain| domain.id != ballast.id).collect();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].id, before[0].id, "the queue was touched");
    let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(serve.get("work", "report.txt"), b"a final\n");
    drop(ballast);
    eventually("another one waits", || serve.place("ready").len() == 1);
}
