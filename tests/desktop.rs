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

/// A qube with a session, where the bus starts the application: it is no process of the service, and does not keep the file.
#[test]
fn m37_an_edit_by_an_application_that_the_bus_starts_comes_back() {
    let runs = |program: &str, words: &[&str]| {
        Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
    };
    let has_gi = runs("/usr/bin/python3", &["-c", "import gi"]);
    if !has_gi || !runs("gio", &["version"]) || !runs("dbus-daemon", &["--version"]) {
        eprintln!("SKIPPED: needs dbus-daemon, gio and python3-gi");
        return;
    }
    let serve = Serve::start(&["--preload=0", "--with", "gio open"]);
    std::fs::write(serve.state.join("etc/policy.d/30-user.policy"), "qubes.OpenInVM * work vault allow\n")
        .unwrap();
    let name = fixture::EDITOR_NAME;
    let directories = [".config", ".local/share/applications", ".local/share/dbus-1/services"];
    assert_eq!(code(&serve.run("vault", [&["mkdir", "-p"][..], &directories].concat())), 0);
    let home = text(&serve.run("vault", ["sh", "-c", "printf %s \"$HOME\""]).stdout);
    let start = format!("/usr/bin/python3 {home}/editor.py");
    let put = |path: &str, text: &str| serve.put("vault", path, text.as_bytes());
    put("editor.py", fixture::EDITOR);
    put(
        &format!(".local/share/dbus-1/services/{name}.service"),
        &format!("[D-BUS Service]\nName={name}\nExec={start} --gapplication-service\n"),
    );
    put(
        &format!(".local/share/applications/{name}.desktop"),
        &format!("[Desktop Entry]\nType=Application\nName=Editor\nExec={start} %U\nDBusActivatable=true\n"),
    );
    put(".config/mimeapps.list", &format!("[Default Applications]\ntext/plain={name}.desktop\n"));
    let session = "setsid -f dbus-daemon --session --nofork --nopidfile --address=unix:path=$XDG_RUNTIME_DIR/bus \
                   >/dev/null 2>&1; until [ -S $XDG_RUNTIME_DIR/bus ]; do sleep 0.01; done";
    assert_eq!(code(&serve.run("vault", ["sh", "-c", session])), 0);
    serve.put("work", "report.txt", b"a draft");
    let output = serve.run("work", ["qvm-open-in-vm", "vault", "report.txt"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(text(&serve.get("work", "report.txt")), "a final");
}
