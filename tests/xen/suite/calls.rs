//! Whole calls with qubes that are domains: what only Xen can make go wrong. Steps share one host, because a qube's start
//! takes long under emulation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../../common/mod.rs"]
mod common;

use common::{Serve, code, text};
use fixture::eventually;
use fixture::random_bytes;
use std::process::Command;
use std::time::Instant;

/// Edits a file; a file that asks for it keeps it busy, so that a call can be cut short.
const EDITOR: &str = "sh -c 'grep -q stay \"$1\" && sleep 1000; sed -i s/draft/final/ \"$1\"' sh";

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn a_file_is_edited_in_a_preloaded_disposable_and_nothing_of_it_stays() {
    let mut serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    assert_eq!(paused(), 1, "{:?}", domains());
    serve.put("work", "report.txt", b"a draft\n");
    let begun = Instant::now();
    let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
    println!("\nfigure: preloaded call: {} ms emulated", begun.elapsed().as_millis());
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(serve.get("work", "report.txt"), b"a final\n");
    assert!(serve.stop(), "the host did not end cleanly");
    eventually("only dom0 is left", || domains().len() == 1);
    assert_eq!(vchan_names(), Vec::<String>::new());
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn a_disposable_destroyed_mid_stream_ends_the_call_and_leaves_the_file() {
    let serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    let content = [b"stay, draft ".as_slice(), &random_bytes(3, 1 << 16)].concat();
    serve.put("work", "report.txt", &content);
    let waiting = domains().into_iter().find(|domain| domain.paused).expect("a disposable waits");
    let call = serve.exec("work", ["qvm-open-in-dvm", "report.txt"]).spawn().unwrap();
    eventually("the disposable runs", || {
        domains().iter().any(|domain| domain.name == waiting.name && !domain.paused)
    });
    assert!(Command::new("xl").args(["destroy", &waiting.id]).status().unwrap().success());
    let begun = Instant::now();
    let output = call.wait_with_output().unwrap();
    println!("\nfigure: caller told after {} ms emulated", begun.elapsed().as_millis());
    assert_ne!(code(&output), 0);
    assert!(serve.get("work", "report.txt") == content, "the file changed");
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p3_a_disposable_that_somebody_paused_too_is_destroyed_and_the_next_one_taken() {
    let serve = Serve::start(&["--preload=2", "--with", EDITOR]);
    serve.put("work", "report.txt", b"a draft\n");
    let mut waiting = domains().into_iter().filter(|domain| domain.paused).collect::<Vec<_>>();
    assert_eq!(waiting.len(), 2, "{waiting:?}");
    // The older one is the next to be taken.
    waiting.sort_by_key(|domain| domain.id.parse::<u32>().unwrap());
    assert!(Command::new("xl").args(["pause", &waiting[0].id]).status().unwrap().success());
    let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(serve.get("work", "report.txt"), b"a final\n");
    eventually("the touched one is destroyed", || domains().iter().all(|domain| domain.id != waiting[0].id));
}

#[derive(Debug)]
struct Domain {
    name: String,
    id: String,
    paused: bool,
}

/// What `xl list` shows, dom0 included.
fn domains() -> Vec<Domain> {
    let output = Command::new("xl").arg("list").output().unwrap();
    let table = text(&output.stdout);
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() >= 6)
        .map(|row| Domain { name: row[0].into(), id: row[1].into(), paused: row[4].contains('p') })
        .collect()
}

fn paused() -> usize {
    domains().iter().filter(|domain| domain.paused).count()
}

/// Names of vchan servers that xenstore holds.
fn vchan_names() -> Vec<String> {
    let output = Command::new("xenstore-ls").args(["-f", "/local/domain"]).output().unwrap();
    text(&output.stdout).lines().filter(|line| line.contains("/data/vchan/")).map(str::to_owned).collect()
}
