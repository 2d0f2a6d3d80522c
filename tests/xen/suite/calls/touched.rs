//! Somebody else was at a disposable that waits (promise P3).

use crate::common::{Serve, code, kill, processes_with, text};
use crate::domains::{Stranger, domains, is_there, named, next, waiting, xl};
use crate::{EDITOR, without_refill};
use fixture::eventually;

/// A call must pass over the next one, which has been touched, and take another.
#[track_caller]
fn passes_over(serve: &Serve) {
    serve.put("work", "report.txt", b"a draft\n");
    let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(serve.get("work", "report.txt"), b"a final\n");
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p3_a_disposable_that_somebody_paused_too_is_destroyed_and_the_next_one_taken() {
    let serve = Serve::start(&["--preload=2", "--with", EDITOR]);
    without_refill(&serve);
    let touched = next(&serve);
    xl(&["pause", &touched.id]);
    passes_over(&serve);
    eventually("the touched one is destroyed", || !is_there(&touched.id));
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p3_a_disposable_that_somebody_woke_is_destroyed_and_the_next_one_taken() {
    let serve = Serve::start(&["--preload=2", "--with", EDITOR]);
    without_refill(&serve);
    let touched = next(&serve);
    // The keeper looks now and then, and must not be the one who finds out.
    let keepers = keepers(&serve);
    keepers.iter().for_each(|pid| kill(*pid, "STOP"));
    xl(&["unpause", &touched.id]);
    passes_over(&serve);
    keepers.iter().for_each(|pid| kill(*pid, "CONT"));
    eventually("the touched one is destroyed", || !is_there(&touched.id));
}

/// Numbers come back after 32,752 domains. Here the entry is changed instead: to the number of another domain, which even
/// has the disposable's name, for that is free again.
#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p3_an_entry_whose_number_belongs_to_another_domain_now_wakes_nobody() {
    let serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    serve.put("work", "report.txt", b"a draft\n");
    let gone = next(&serve);
    // It would tidy up at once.
    let keepers = keepers(&serve);
    assert_eq!(keepers.len(), 1);
    keepers.iter().for_each(|pid| kill(*pid, "STOP"));
    xl(&["destroy", &gone.id]);
    eventually("its name is free", || named(&gone.name).is_none());
    let stranger = Stranger::paused(&gone.name, 96);
    let ready = serve.state.join("run/dispvm/default-dvm/ready");
    let entry = std::fs::read_dir(ready).unwrap().next().expect("the entry is still there").unwrap().path();
    let text_of_entry = std::fs::read_to_string(&entry).unwrap();
    let (old, new) = (format!("domid={}\n", gone.id), format!("domid={}\n", stranger.id));
    assert!(text_of_entry.contains(&old), "{text_of_entry}");
    std::fs::write(&entry, text_of_entry.replace(&old, &new)).unwrap();

    let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(serve.get("work", "report.txt"), b"a final\n", "a cold one did it");
    let now = domains().into_iter().find(|domain| domain.id == stranger.id).expect("it was not destroyed");
    assert!(now.paused, "the stranger was woken");
    assert!(!entry.exists(), "the entry still waits");
    let log = std::fs::read_to_string(serve.state.join("log/work.log")).unwrap_or_default();
    assert!(log.contains(&format!("domain {} is now {}", stranger.id, gone.name)), "{log}");
    keepers.iter().for_each(|pid| kill(*pid, "CONT"));
    drop(stranger);
    eventually("another one waits", || serve.place("ready").len() == 1 && waiting().len() == 1);
}

pub(crate) fn keepers(serve: &Serve) -> Vec<u32> {
    let is_keeper = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        text(line.split(|byte| *byte == 0).next().unwrap_or_default()).ends_with("preload-dispvm")
    };
    processes_with(&serve.state.to_string_lossy()).into_iter().filter(is_keeper).collect()
}
