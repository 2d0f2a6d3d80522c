//! The commands of docs/xen.md, as they stand there.

use crate::common::HOST;
use crate::domains::{domains, listed};
use docs::{Terminals, blocks};
use fixture::eventually;
use std::os::unix::fs::symlink;
use std::process::Command;

/// The page, and the gate whose commands are for here.
const PAGE: (&str, &str) = (include_str!("../../../../docs/xen.md"), "xen");

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn its_commands_edit_a_file_and_leave_no_domain() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    symlink(HOST, directory.path().join("qubes-host")).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let shell = || {
        let mut shell = Command::new("sh");
        shell.args(["-euo", "pipefail", "-c"]).current_dir(directory.path()).env("PATH", &path);
        shell
    };
    let mut terminals = Terminals::new(&shell);
    let mut count = 0;
    for block in blocks(PAGE.0) {
        if let Some((gate, stays)) = block.commands().filter(|(gate, _)| *gate == PAGE.1) {
            println!("\n{gate}: {}", block.text);
            terminals.run(&block, stays).unwrap_or_else(|error| panic!("docs/xen.md, {error}"));
            count += 1;
        }
    }
    assert!(count >= 2, "{count}");
    terminals.close().unwrap_or_else(|error| panic!("docs/xen.md, {error}"));
    eventually("only dom0 is left", || domains().is_empty());
    assert_eq!(listed(), ["Domain-0"]);
}
