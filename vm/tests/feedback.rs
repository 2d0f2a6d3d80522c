//! What the user sees while files are open: on a terminal, on a desktop, with one file and with several.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Done, Place, SERVE, await_that};
use nix::pty::openpty;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn l5_several_files_share_one_summary_and_all_are_opened() {
    let place = Place::new(SERVE);
    for name in ["a", "b", "c", "d"] {
        place.file(name, name);
    }
    let with = r#"sh -c 'case "$0" in */d) ;; *) printf + >> "$0";; esac; case "$0" in */b) exit 4;; esac'"#;
    let words = ["a", "missing", "b", "http:bad", "c", "d"].map(OsStr::new);
    let said = [
        "\"missing\": there is no such file",
        "not http",
        "a was edited\n",
        "b was edited, but not replaced\n",
        "d is unchanged\n",
        "6 of 6 done: ",
        "6 files or links: 2 edited, 1 unchanged, 1 edited but not replaced, 2 failed\n",
    ];
    let done = place.open_all(with, &words).expect(1, &said);
    assert_eq!(done.stderr.matches(" done: ").count(), 4, "{done:?}");
    assert_eq!(place.calls().lines().count(), 4);
    assert_eq!(place.names(), ["a", "b", "b.edited", "c", "d"]);
    assert_eq!(place.left_behind(), [""; 0]);
    // The first code of the command line that is not 0 counts, not the first in time.
    let with = r#"sh -c 'case "$0" in */a) sleep 0.3; exit 7;; */b) exit 8;; esac'"#;
    place.open_all(with, &["a", "b", "c"].map(OsStr::new)).expect(7, &["exit code 7", "exit code 8"]);
}

#[test]
fn l5_no_more_are_open_at_once_than_wanted() {
    for at_once in [1, 2] {
        let place = Place::new(SERVE);
        let names: Vec<String> = (0..6).map(|number| format!("f{number}")).collect();
        names.iter().for_each(|name| drop(place.file(name, "x")));
        let with = r#"sh -c 'echo begin >> "$NOTE"; sleep 0.1; echo end >> "$NOTE"'"#;
        let mut command = place.command("qvm-open-in-dvm", with);
        let command = command.env("QUBES_OPEN_AT_ONCE", at_once.to_string()).args(&names);
        Done::of(command.output().unwrap()).expect(0, &["6 files or links: 6 unchanged\n"]);
        let (mut open, mut most) = (0, 0);
        for line in fs::read_to_string(place.path("note")).unwrap().lines() {
            open += if line == "begin" { 1 } else { -1 };
            most = most.max(open);
        }
        assert_eq!(most, at_once);
    }
}

#[test]
fn l5_a_signal_ends_all_of_them() {
    let place = Place::new(SERVE);
    let names = ["a", "b", "c", "d"];
    names.iter().for_each(|name| drop(place.file(name, "old")));
    let mut command = place.command("qvm-open-in-dvm", r#"sh -c 'echo $$ >> "$NOTE"; exec sleep 60'"#);
    let mut child = command.env("QUBES_OPEN_AT_ONCE", "3").args(names).stderr(Stdio::null()).spawn().unwrap();
    let notes = || fs::read_to_string(place.path("note")).unwrap_or_default();
    await_that("three applications", || notes().lines().count() == 3);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    await_that("the end of all", || notes().lines().all(|pid| !common::is_alive(pid)));
    assert_eq!(notes().lines().count(), 3, "the fourth was never opened");
    assert_eq!(place.names(), names);
}

#[test]
fn l1_a_terminal_is_told_at_once_and_at_the_end() {
    // Nothing is called before somebody has read the first line.
    let place = Place::new(&format!(r#"while [ ! -e "$NOTE" ]; do sleep 0.01; done{SERVE}"#));
    let file = place.file("report.txt", "old");
    let terminal = openpty(None, None).unwrap();
    let mut command = place.command("qvm-open-in-dvm", r#"sh -c 'printf new > "$0"'"#);
    command.env_remove("QUBES_STORY").arg(&file).stderr(Stdio::from(terminal.slave));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut lines = BufReader::new(File::from(terminal.master)).lines();
    assert_eq!(
        lines.next().unwrap().unwrap(),
        "qvm-open-in-dvm: opening report.txt in a disposable\r".trim_end()
    );
    fs::write(place.path("note"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // The other side of a terminal that nobody has open any more gives an error in place of its end.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    assert_eq!(rest.last().unwrap(), "qvm-open-in-dvm: report.txt was edited");
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

/// Without a terminal, on a desktop whose notifications are written down, an argument a line: the exit code, once all
/// of `said` was shown. The program that shows the last one is not waited for.
fn on_a_desktop(place: &Place, with: &str, words: &[&str], said: &[&str]) -> Option<i32> {
    let notify = place.script("notify", r#"printf '%s\n' "$@" >> "$LOG.shown"; echo 5"#);
    let mut command = place.command("qvm-open-in-dvm", with);
    command
        .env("WAYLAND_DISPLAY", "w")
        .env("QUBES_OPEN_NOTIFY", notify)
        .env_remove("QUBES_STORY")
        .args(words);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    for part in said {
        await_that(part, || {
            fs::read_to_string(place.path("log.shown")).is_ok_and(|shown| shown.contains(part))
        });
    }
    status.code()
}

#[test]
fn m43_who_started_us_from_a_file_manager_is_notified() {
    let cases: [(&str, &[&str], i32, &[&str]); 5] = [
        (r#"sh -c 'printf new > "$0"'"#, &["a&b"], 0, &["opening a&b in a disposable", "a&b was edited"]),
        (
            r#"sh -c 'echo "no <license>" >&2; printf "\033[1m\n" >&2; exit 3'"#,
            &["a&b"],
            3,
            &[
                "a&b failed",
                "a&amp;b in @dispvm: the other qube reported exit code 3",
                "no &lt;license&gt;",
                "_[1m",
            ],
        ),
        ("true", &["missing"], 1, &["missing failed", "there is no such file"]),
        ("true", &["--bad"], 2, &["nothing was opened", "unknown option"]),
        ("true", &["a&b", "c"], 0, &["opening 2 files", "2 files or links: 2 unchanged"]),
    ];
    for (with, words, code, said) in cases {
        let place = Place::new(SERVE);
        place.file("a&b", "old");
        place.file("c", "old");
        assert_eq!(on_a_desktop(&place, with, words, said), Some(code), "{words:?}");
    }
}

#[test]
fn l1_a_notification_comes_before_the_call_and_a_stuck_desktop_holds_up_nothing() {
    let place = Place::new(&format!(r#"while [ ! -e "$LOG.shown" ]; do sleep 0.01; done{SERVE}"#));
    place.file("a", "old");
    assert_eq!(
        on_a_desktop(&place, "true", &["a"], &["opening a in a disposable", "a is unchanged"]),
        Some(0)
    );
    let stuck = place.script("stuck", r#"echo $$ >> "$LOG.stuck"; exec sleep 60"#);
    let mut command = place.command("qvm-open-in-dvm", "true");
    command.env("DISPLAY", ":77").env("QUBES_OPEN_NOTIFY", stuck).env_remove("QUBES_STORY").arg("a");
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let stuck = || fs::read_to_string(place.path("log.stuck")).unwrap_or_default();
    await_that("both programs", || stuck().lines().count() == 2);
    for pid in stuck().lines() {
        assert!(common::is_alive(pid), "nobody waited for it");
        Command::new("kill").arg(pid).status().unwrap();
    }
}

/// The real notify-send and gdbus, on a session bus of this test's own with a small desktop on it.
#[test]
fn m43_the_usual_programs_reach_the_desktop() {
    let has_gi = Command::new("/usr/bin/python3").args(["-c", "import gi"]).stderr(Stdio::null()).status();
    let has_bus = std::path::Path::new("/usr/bin/dbus-daemon").exists();
    if !has_bus || !has_gi.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: needs dbus-daemon and python3-gi");
        return;
    }
    let place = Place::new(SERVE);
    place.file("a & b.txt", "old");
    let address = format!("unix:path={}", place.path("bus").display());
    let mut bus = Command::new("/usr/bin/dbus-daemon");
    bus.args(["--session", "--nofork", "--nopidfile", "--address", &address]);
    let bus = Ended(bus.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    await_that("the bus", || place.path("bus").exists());
    fs::write(place.path("desktop.py"), DESKTOP).unwrap();
    let mut desktop = Command::new("/usr/bin/python3");
    desktop.arg(place.path("desktop.py")).arg(place.path("shown"));
    let desktop = Ended(desktop.env("DBUS_SESSION_BUS_ADDRESS", &address).spawn().unwrap());
    let shown = || fs::read_to_string(place.path("shown")).unwrap_or_default();
    await_that("the desktop", || shown().starts_with("ready\n"));
    for program in ["/usr/bin/notify-send", "/usr/bin/gdbus"] {
        if !std::path::Path::new(program).exists() {
            eprintln!("SKIPPED: {program} is not installed (Debian: libnotify-bin, libglib2.0-bin)");
            continue;
        }
        let before = shown().len();
        let mut command = place.command("qvm-open-in-dvm", "sh -c 'sleep 1; exit 3'");
        command.env("DISPLAY", ":77").env("DBUS_SESSION_BUS_ADDRESS", &address);
        command.env("QUBES_OPEN_NOTIFY", program).env_remove("QUBES_STORY").arg("a & b.txt");
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(3));
        let news = || shown()[before..].to_owned();
        await_that(program, || news().lines().count() == 2);
        let lines = news();
        let (begin, end) = lines.trim_end().split_once('\n').unwrap();
        let number = begin.split('|').next().unwrap().to_owned();
        assert_eq!(begin, format!("{number}|0|opening a & b.txt in a disposable|"));
        let end = end.strip_prefix(&format!("{number}|{number}|a & b.txt failed|")).expect("it is replaced");
        assert!(end.starts_with("a &amp; b.txt in @dispvm: the other qube reported exit code 3"), "{end}");
    }
    drop((desktop, bus));
}

/// Writes down each notification: its number, the one that it replaces, summary, body.
const DESKTOP: &str = r#"
import sys
from gi.repository import Gio, GLib
log = open(sys.argv[1], "a")
xml = """<node><interface name="org.freedesktop.Notifications">
<method name="GetServerInformation"><arg type="s" direction="out"/><arg type="s" direction="out"/>
<arg type="s" direction="out"/><arg type="s" direction="out"/></method>
<method name="GetCapabilities"><arg type="as" direction="out"/></method>
<method name="Notify"><arg type="s" direction="in"/><arg type="u" direction="in"/><arg type="s" direction="in"/>
<arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="as" direction="in"/>
<arg type="a{sv}" direction="in"/><arg type="i" direction="in"/><arg type="u" direction="out"/></method>
</interface></node>"""
number = 40
def tell(text):
    print(text.replace("\n", "/"), file=log, flush=True)
def called(bus, sender, path, interface, method, values, invocation):
    global number
    if method == "GetServerInformation":
        invocation.return_value(GLib.Variant("(ssss)", ("test", "test", "1", "1.2")))
    elif method == "GetCapabilities":
        invocation.return_value(GLib.Variant("(as)", (["body", "body-markup"],)))
    else:
        app, replaced, icon, summary, body, actions, hints, timeout = values.unpack()
        number = replaced or number + 1
        tell(f"{number}|{replaced}|{summary}|{body}")
        invocation.return_value(GLib.Variant("(u)", (number,)))
node = Gio.DBusNodeInfo.new_for_xml(xml)
def there(bus, name):
    bus.register_object("/org/freedesktop/Notifications", node.interfaces[0], called, None, None)
Gio.bus_own_name(Gio.BusType.SESSION, "org.freedesktop.Notifications", Gio.BusNameOwnerFlags.NONE,
    there, lambda *_: tell("ready"), lambda *_: sys.exit("no name"))
GLib.MainLoop().run()
"#;

/// A process that ends with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
