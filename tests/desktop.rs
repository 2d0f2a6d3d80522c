//! From a desktop's own opening program into a disposable and back: gio open and xdg-open inside the qube `work`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{Serve, code, text};
use fixture::eventually;
use std::process::Command;

/// Makes the shipped entry the handler of everything in the home of the qube `work`, as a user would.
fn install_handler(serve: &Serve) {
    let read = |name: &str| {
        std::fs::read_to_string(format!("{}/../vm/desktop/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    assert_eq!(code(&serve.run("work", ["mkdir", "-p", "data/applications", "config"])), 0);
    // In a qube of the embedded host programs are not in /usr/bin but in PATH.
    let entry =
        read("applications/qvm-open-in-dvm.desktop").replace("/usr/bin/qvm-open-in-dvm", "qvm-open-in-dvm");
    serve.put("work", "data/applications/qvm-open-in-dvm.desktop", entry.as_bytes());
    let defaults = read("xdg-override/applications/mimeapps.list");
    serve.put("work", "data/applications/mimeapps.list", defaults.as_bytes());
}

fn opens(program: &str, probe: &str, words: &str) {
    if !Command::new(program).arg(probe).output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {program} does not run here");
        return;
    }
    let serve = Serve::start(&["--preload=1", "--with", "sed -i s/draft/final/"]);
    install_handler(&serve);
    let name = "a report; $HOME.txt";
    serve.put("work", name, b"a draft");
    // DISPLAY: without one xdg-open looks for no desktop entry. Nothing opens a window.
    let script = format!(
        "export XDG_DATA_HOME=\"$HOME/data\" XDG_CONFIG_HOME=\"$HOME/config\" DISPLAY=:none; exec {words} \"$HOME/$0\""
    );
    let output = serve.run("work", ["sh", "-c", &script, name]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    eventually("the file comes back edited", || serve.get("work", name) == b"a final");
}

#[test]
fn gio_open_goes_through_a_disposable() {
    opens("gio", "version", "gio open");
}

#[test]
fn xdg_open_goes_through_a_disposable() {
    opens("xdg-open", "--version", "xdg-open");
}
