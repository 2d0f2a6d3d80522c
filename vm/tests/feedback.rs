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

/// Without a terminal, on a desktop whose notifications are written to `shown`, an argument a line.
fn on_a_desktop(place: &Place, with: &str, words: &[&str]) -> (Option<i32>, String) {
    let notify = place.script("notify", r#"{ printf '%s\n' "$@"; echo .; } >> "$LOG.shown"; echo 5"#);
    let mut command = place.command("qvm-open-in-dvm", with);
    command.env("DISPLAY", ":77").env("QUBES_OPEN_NOTIFY", notify).env_remove("QUBES_STORY").args(words);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    let shown = || fs::read_to_string(place.path("log.shown")).unwrap_or_default();
    // The program that shows the last one is not waited for.
    await_that("the last notification", || shown().lines().filter(|line| *line == ".").count() >= 2);
    (status.code(), shown())
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
        ("true", &["a&b", "c"], 0, &["opening 2 files", "1 of 2 done", "2 files or links: 2 unchanged"]),
    ];
    for (with, words, code, said) in cases {
        let place = Place::new(SERVE);
        place.file("a&b", "old");
        place.file("c", "old");
        let (ended, shown) = if words == ["--bad"] {
            let place = &place;
            let notify = place.script("notify", r#"{ printf '%s\n' "$@"; echo .; } >> "$LOG.shown""#);
            let mut command = place.command("qvm-open-in-dvm", with);
            command.env("WAYLAND_DISPLAY", "w").env("QUBES_OPEN_NOTIFY", notify).args(words);
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            let shown = || fs::read_to_string(place.path("log.shown")).unwrap_or_default();
            await_that("a notification", || shown().ends_with(".\n"));
            (status.code(), shown())
        } else {
            on_a_desktop(&place, with, words)
        };
        assert_eq!(ended, Some(code), "{shown}");
        for word in said {
            assert!(shown.contains(word), "\"{word}\" is missing in {shown}");
        }
    }
}

#[test]
fn l1_a_notification_comes_before_the_call_and_a_stuck_desktop_holds_up_nothing() {
    let place = Place::new(&format!(r#"while [ ! -e "$LOG.shown" ]; do sleep 0.01; done{SERVE}"#));
    place.file("a", "old");
    let (code, shown) = on_a_desktop(&place, "true", &["a"]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("opening a in a disposable"), "{shown}");
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

/// The real notify-send and gdbus on a session bus of this test's own, watched by dbus-monitor.
#[test]
fn m43_the_usual_programs_reach_the_desktop() {
    let programs = ["/usr/bin/dbus-daemon", "/usr/bin/dbus-monitor"];
    if let Some(missing) = programs.iter().find(|path| !std::path::Path::new(path).exists()) {
        eprintln!("SKIPPED: {missing} is not installed (Debian: dbus, dbus-bin)");
        return;
    }
    let place = Place::new(SERVE);
    place.file("a & b.txt", "old");
    let address = format!("unix:path={}", place.path("bus").display());
    let mut bus = Command::new(programs[0]);
    let bus =
        bus.args(["--session", "--nofork", "--nopidfile", "--address"]).arg(&address).stdout(Stdio::null());
    let bus = Ended(bus.spawn().unwrap());
    await_that("the bus", || place.path("bus").exists());
    let log = File::create(place.path("monitor")).unwrap();
    let mut monitor = Command::new(programs[1]);
    let monitor = monitor.args(["--address", &address]).stdout(log).stderr(Stdio::null());
    let monitor = Ended(monitor.spawn().unwrap());
    let watched = || fs::read_to_string(place.path("monitor")).unwrap_or_default();
    await_that("the monitor", || watched().contains("NameLost"));
    for program in ["/usr/bin/notify-send", "/usr/bin/gdbus"] {
        if !std::path::Path::new(program).exists() {
            eprintln!("SKIPPED: {program} is not installed (Debian: libnotify-bin, libglib2.0-bin)");
            continue;
        }
        let before = watched().len();
        let mut command = place.command("qvm-open-in-dvm", "true");
        command.env("DISPLAY", ":77").env("DBUS_SESSION_BUS_ADDRESS", &address);
        command.env("QUBES_OPEN_NOTIFY", program).env_remove("QUBES_STORY").arg("a & b.txt");
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(0));
        // Nobody shows notifications on this bus; what was asked of it is what counts.
        let asked = || watched()[before..].to_owned();
        await_that(program, || {
            ["member=Notify", "opening a & b.txt in a disposable"].iter().all(|part| asked().contains(part))
                && asked().contains("a & b.txt is unchanged")
        });
    }
    drop((monitor, bus));
}

/// A process that ends with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
