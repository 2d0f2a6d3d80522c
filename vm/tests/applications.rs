//! Applications that run once and are asked over the session's bus to open a file: real ones, on a real bus.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{Done, Place, SERVE, await_that};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PYTHON: &str = "/usr/bin/python3";
const NAME: &str = fixture::EDITOR_NAME;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A session with a bus and one application that the bus can start, which is the default for everything.
struct Session {
    place: Place,
    bus: Option<Ended>,
}

impl Session {
    /// `None`, and that is said, where the programs are missing.
    fn new(start: &str) -> Option<Self> {
        let has_gi = Command::new(PYTHON).args(["-c", "import gi"]).stderr(Stdio::null()).status();
        let has = |path: &str| Path::new(path).exists();
        if !has("/usr/bin/dbus-daemon")
            || !has("/usr/bin/gio")
            || !has_gi.is_ok_and(|status| status.success())
        {
            eprintln!("SKIPPED: needs dbus-daemon, gio and python3-gi");
            return None;
        }
        let mut session = Self { place: Place::new(SERVE), bus: None };
        let place = &session.place;
        for directory in ["data/applications", "data/dbus-1/services", "config"] {
            fs::create_dir_all(place.path(directory)).unwrap();
        }
        fs::write(place.path("editor.py"), fixture::EDITOR).unwrap();
        let editor = format!("{PYTHON} {}", place.path("editor.py").display());
        let start = start.replace("EDITOR", &editor);
        let service = format!("[D-BUS Service]\nName={NAME}\nExec={start}\n");
        fs::write(place.path(&format!("data/dbus-1/services/{NAME}.service")), service).unwrap();
        let entry = format!(
            "[Desktop Entry]\nType=Application\nName=Editor\nExec={editor} %U\nDBusActivatable=true\n\
             MimeType=text/plain;\n"
        );
        fs::write(place.path(&format!("data/applications/{NAME}.desktop")), entry).unwrap();
        let defaults = format!("[Default Applications]\ntext/plain={NAME}.desktop\n");
        fs::write(place.path("config/mimeapps.list"), defaults).unwrap();
        let mut bus = session.command(&mut Command::new("/usr/bin/dbus-daemon"));
        bus.args(["--session", "--nofork", "--nopidfile", "--address", &session.address()]);
        session.bus = Some(Ended(bus.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()));
        await_that("the bus", || session.place.path("bus").exists());
        Some(session)
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.place.path("bus").display())
    }

    /// In the environment of the session.
    fn command(&self, command: &mut Command) -> Command {
        let mut own = Command::new(command.get_program());
        own.args(command.get_args());
        self.place.environment(&mut own, "");
        self.environment(&mut own);
        own
    }

    fn environment(&self, command: &mut Command) {
        let data = format!("{}:/usr/share", self.place.path("data").display());
        command
            .env("DBUS_SESSION_BUS_ADDRESS", self.address())
            .env("XDG_DATA_DIRS", data)
            .env("XDG_CONFIG_HOME", self.place.path("config"))
            .env("XDG_DATA_HOME", self.place.path("home/data"))
            .env("GIO_USE_VFS", "local");
    }

    fn open(&self, with: &str, words: &[&str]) -> Done {
        let mut command = self.place.command("qvm-open-in-dvm", with);
        self.environment(&mut command);
        Done::of(command.args(words).output().unwrap())
    }

    /// Starts the application as a user does who works with it already; it writes a note when it is ready.
    fn start_editor(&self, words: &[&str]) -> Ended {
        let mut command = self.command(Command::new(PYTHON).arg(self.place.path("editor.py")).args(words));
        let child = Ended(command.spawn().unwrap());
        self.place.await_note();
        child
    }
}

#[test]
fn m37_an_application_that_the_bus_starts_is_waited_for() {
    let Some(session) = Session::new("EDITOR --gapplication-service") else { return };
    let file = session.place.file("c++ (1).txt", "a draft");
    let said = format!("waiting until {NAME} ends, which has c++__1_.txt open");
    session.open("gio open", &["c++ (1).txt"]).expect(0, &[&said, "c++ (1).txt replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a final");
    assert_eq!(session.place.left_behind(), [""; 0]);
}

/// It is on the bus for a moment: nobody who only looks now and then sees it there.
#[test]
fn m37_an_application_that_was_there_for_a_moment_is_not_waited_for_any_more() {
    let Some(session) = Session::new("EDITOR --gapplication-service --quick") else { return };
    let file = session.place.file("a.txt", "a draft");
    let begun = Instant::now();
    session.open("gio open", &["a.txt"]).expect(0, &["a.txt replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a final");
    // A bus that starts an application in vain is waited for so long.
    assert!(begun.elapsed() < Duration::from_secs(120), "it was waited for");
}

#[test]
fn m38_a_file_more_for_an_application_that_runs_is_waited_for() {
    let Some(session) = Session::new("/bin/false") else { return };
    let file = session.place.file("a.txt", "a draft");
    let editor = session.start_editor(&[]);
    let with = format!("{PYTHON} {}", session.place.path("editor.py").display());
    session.open(&with, &["a.txt"]).expect(0, &[NAME, "a.txt replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a final");
    drop(editor);
}

#[test]
fn m37_an_application_that_the_bus_cannot_start_is_not_waited_for() {
    let Some(session) = Session::new("/bin/false") else { return };
    let file = session.place.file("a.txt", "a draft");
    let done = session.open("gio open", &["a.txt"]);
    assert!(!done.stderr.contains("replaced"), "{done:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "a draft");
    assert_eq!(session.place.left_behind(), [""; 0]);
}

#[test]
fn m38_a_url_for_an_application_that_runs_is_not_waited_for() {
    let Some(session) = Session::new("/bin/false") else { return };
    let editor = session.start_editor(&[]);
    // Asked as a browser is that runs already; it would be there until the end of this test.
    let with = session.place.script(
        "ask",
        &format!(
            "exec gdbus call --session --dest {NAME} --object-path /org/example/Editor \
             --method org.freedesktop.Application.Activate \"{{'url': <'$1'>}}\""
        ),
    );
    session.open(with.to_str().unwrap(), &["https://example.org/?q=(a"]).expect(0, &[]);
    drop(editor);
}
