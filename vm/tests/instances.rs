//! Applications that run once, neither keep a file open nor name it, and are told of it in a way of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{Place, SERVE};
use std::fs;
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
        place.environment(command, "");
        let child = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        assert_eq!(place.await_note(), "ready");
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
        drop(self.child.kill());
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
    assert!(running.is_there());
}
