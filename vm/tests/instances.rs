//! Applications that run once, neither keep a file open nor name it, and are told of it in a way of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{Done, Place, SERVE, await_that};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PYTHON: &str = "/usr/bin/python3";

/// The application as the user has started it before, in a session of its own.
struct Running {
    child: Child,
    /// What opens a file with it.
    with: String,
}

impl Running {
    fn start(place: &Place, command: &mut Command, with: String) -> Self {
        let running = Self::begin(place, command, with);
        assert_eq!(place.await_note(), "ready");
        running
    }

    fn begin(place: &Place, command: &mut Command, with: String) -> Self {
        place.environment(command, "");
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).process_group(0).spawn().unwrap();
        Self { child, with }
    }

    /// `None`, and that is said, where there is no Python.
    fn once(place: &Place, words: &[&str]) -> Option<Self> {
        if !Path::new(PYTHON).exists() {
            eprintln!("SKIPPED: needs {PYTHON}");
            return None;
        }
        let program = place.path("once.py");
        fs::write(&program, fixture::ONCE).unwrap();
        let socket = place.path("once");
        let mut command = Command::new(PYTHON);
        command.arg(&program).arg(&socket).args(words);
        let with = format!("{PYTHON} {} {}", program.display(), socket.display());
        Some(Self::start(place, &mut command, with))
    }

    fn is_there(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // With all that it has started.
        let group = nix::unistd::Pid::from_raw(-i32::try_from(self.child.id()).unwrap());
        let _: nix::Result<()> = nix::sys::signal::kill(group, nix::sys::signal::Signal::SIGKILL);
        drop(self.child.wait());
    }
}

#[test]
fn m38_an_application_told_by_its_own_socket_is_waited_for_until_it_ends() {
    let place = Place::new(SERVE);
    let Some(mut running) = Running::once(&place, &["end"]) else { return };
    let file = place.file("c++ (1).txt", "a draft");
    place.open(&running.with, &file).expect(0, &["ends, which has c++__1_.txt open", "c++ (1).txt replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a final");
    assert!(!running.is_there());
    assert_eq!(place.left_behind(), [""; 0]);
}

#[test]
fn m38_it_is_waited_for_until_it_takes_its_lock_file_away() {
    let place = Place::new(SERVE);
    let Some(mut running) = Running::once(&place, &["lock"]) else { return };
    for name in ["a.txt", "b c.txt"] {
        let file = place.file(name, "a draft");
        place.open(&running.with, &file).expect(0, &["ends, which has", "replaced"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "a final", "{name}");
    }
    assert!(running.is_there());
}

#[test]
fn m38_one_out_of_the_same_directory_is_waited_for() {
    let place = Place::new(SERVE);
    let shell = place.path("application/shell");
    fs::create_dir(place.path("application")).unwrap();
    // By a process of its own: a file that we have open for writing cannot be run, nor while a child of another test has it.
    assert!(Command::new("cp").arg("/bin/sh").arg(&shell).status().unwrap().success());
    // Told by a file, as by a property of a window: it listens to nothing that is to be seen.
    let work = place.script(
        "work",
        r#"echo ready > "$NOTE"; until [ -s "$1" ]; do sleep 0.05; done; sleep 0.7; printf new > "$(cat "$1")""#,
    );
    let tell = place.script("tell", r#"printf %s "$2" > "$1.new"; mv "$1.new" "$1"; sleep 0.1"#);
    let wish = place.path("wish");
    let mut command = Command::new(&shell);
    command.arg(work).arg(&wish);
    let with = format!("{} {} {}", shell.display(), tell.display(), wish.display());
    let running = Running::start(&place, &mut command, with);
    let file = place.file("a", "old");
    place.open(&running.with, &file).expect(0, &["waiting until shell ends, which has a open", "replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn m38_what_cannot_have_been_told_is_not_waited_for() {
    // The same program, which listens to nobody; a program that shares only its interpreter; one that told nobody as it failed.
    let place = Place::new(SERVE);
    let Some(mut running) = Running::once(&place, &["deaf"]) else { return };
    let file = place.file("a", "old");
    place.open(&running.with, &file).expect(0, &["unchanged"]);
    assert!(running.is_there());
    drop(running);
    fs::remove_file(place.path("once")).unwrap();
    fs::remove_file(place.path("note")).unwrap();
    let Some(mut running) = Running::once(&place, &[]) else { return };
    fs::write(place.path("other.py"), "import time\ntime.sleep(0.1)\n").unwrap();
    place.open(&format!("{PYTHON} {}", place.path("other.py").display()), &file).expect(0, &["unchanged"]);
    let failing = format!("{PYTHON} {} {}", place.path("once.py").display(), place.path("nowhere").display());
    place.open(&failing, &file).expect(1, &[]);
    // One that changed the file itself.
    let file = place.file("b", "a draft");
    place.open(&format!("{} alone", running.with), &file).expect(0, &["replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a final");
    assert!(running.is_there());
}

/// Changes and closes the document that a LibreOffice opens, which goes on.
const LIBREOFFICE_USER: &str = r#"
import sys, time, uno
context = uno.getComponentContext()
resolver = context.ServiceManager.createInstanceWithContext("com.sun.star.bridge.UnoUrlResolver", context)
def until(step):
    for _ in range(600):
        try:
            result = step()
        except Exception:
            result = None
        if result:
            return result
        time.sleep(0.1)
    sys.exit("waited too long")
office = until(lambda: resolver.resolve(f"uno:pipe,name={sys.argv[1]};urp;StarOffice.ComponentContext"))
desktop = office.ServiceManager.createInstanceWithContext("com.sun.star.frame.Desktop", office)
open(sys.argv[2], "w").write("ready\n")
def opened():
    # The first window shows no document.
    document = desktop.getCurrentComponent()
    return document if document.getURL().endswith(".txt") else None
try:
    document = until(opened)
    # As a user, who takes longer than the second start of the program lives.
    time.sleep(2)
    search = document.createReplaceDescriptor()
    search.SearchString, search.ReplaceString = "draft", "final"
    document.replaceAll(search)
    document.store()
    document.close(True)
except BaseException:
    # Nobody waits for this office any more.
    desktop.terminate()
    raise
"#;

/// Debian: libreoffice-writer, python3-uno, xvfb; too large for every run. Without windows LibreOffice opens no second document.
#[test]
fn m38_a_libreoffice_that_runs_is_waited_for_until_it_closes_the_document() {
    let has_uno = Command::new(PYTHON).args(["-c", "import uno"]).stderr(Stdio::null()).status();
    let has = |path: &str| Path::new(path).exists();
    if !has("/usr/bin/soffice") || !has("/usr/bin/Xvfb") || !has_uno.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: needs soffice, Xvfb and python3-uno");
        return;
    }
    let place = Place::new(SERVE);
    let screen = place.script("screen", r#"exec 3> "$1"; exec Xvfb -displayfd 3 -nolisten tcp"#);
    let display = place.path("display");
    let _screen = Running::begin(&place, Command::new(screen).arg(&display), String::new());
    let number = || fs::read_to_string(&display).unwrap_or_default();
    await_that("the screen", || number().ends_with('\n'));
    let display = format!(":{}", number().trim());
    let name = format!("office{}", std::process::id());
    let profile = format!("-env:UserInstallation=file://{}", place.path("profile").display());
    let mut office = Command::new("/usr/bin/env");
    office.args([&format!("DISPLAY={display}"), "soffice", "--norestore", "--nologo", &profile]);
    office.arg(format!("--accept=pipe,name={name};urp;"));
    let mut office = Running::begin(&place, &mut office, format!("soffice {profile}"));
    let mut user = Command::new(PYTHON);
    user.args(["-c", LIBREOFFICE_USER, &name]).arg(place.path("note"));
    let mut user = Running::start(&place, &mut user, String::new());
    let file = place.file("a letter.txt", "a draft\n");
    let mut command = place.command("qvm-open-in-dvm", &office.with);
    let done = Done::of(command.env("DISPLAY", display).arg(&file).output().unwrap());
    done.expect(0, &["waiting until a_letter.txt is closed", "replaced"]);
    assert!(fs::read_to_string(&file).unwrap().contains("a final"));
    assert!(user.child.wait().unwrap().success() && office.is_there());
}
