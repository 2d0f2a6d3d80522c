//! What a call leaves behind while its host lives on. What one leaves after that, the lab looks for after every test.

use crate::EDITOR;
use crate::common::{Serve, code, text};
use crate::domains::{vchan_names, xl};
use fixture::eventually;
use std::process::Command;

/// What is held of other domains' memory: grants in use, as Xen counts them, and open devices of Xen.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    grants: usize,
    devices: usize,
    names: Vec<String>,
}

impl Held {
    fn now() -> Self {
        xl(&["dmesg", "-c"]);
        xl(&["debug-keys", "g"]);
        let table = text(&xl(&["dmesg"]).stdout);
        assert!(table.contains("gnttab_usage_print_all ] done"), "Xen printed no table of grants: {table}");
        let grants = table.lines().filter(|line| line.contains("[0x")).count();
        Self { grants, devices: devices(), names: vchan_names() }
    }
}

fn devices() -> usize {
    let pids = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let descriptors =
        pids.flat_map(|pid| std::fs::read_dir(pid.path().join("fd")).into_iter().flatten().flatten());
    let targets = descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok());
    targets.filter(|target| target.starts_with("/dev/xen")).count()
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn calls_leak_no_grant_no_channel_and_no_name() {
    let serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    let call = || {
        serve.put("work", "report.txt", b"a draft\n");
        let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        eventually("another one waits and nothing else is left", || {
            let is_empty = |place: &&str| serve.place(place).is_empty();
            serve.place("ready").len() == 1 && ["starting", "claimed", "used", "done"].iter().all(is_empty)
        });
    };
    call();
    let first = Held::now();
    println!("\nfigure: held while one waits: {} grants, {} devices", first.grants, first.devices);
    assert!(first.grants > 0 && first.devices > 0, "{first:?}: the look sees nothing");
    call();
    call();
    let mut last = Held::now();
    eventually("as much is held as before", || {
        last = Held::now();
        last == first
    });
    // One that is held open is seen.
    let holder = Command::new("sh")
        .args(["-c", "exec 9<>/dev/xen/gntalloc; read -r line"])
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut holder = holder.unwrap();
    eventually("it is seen", || Held::now() != first);
    drop(holder.stdin.take());
    holder.wait().unwrap();
}
