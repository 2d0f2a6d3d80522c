//! A caller and a service joined directly: a small script takes the place of qrexec-client-vm.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub const QUBES_VM: &str = env!("CARGO_BIN_EXE_qubes-vm");

/// Serves every call by the real in-qube program, as a qube called `work` would ask for it.
pub const SERVE: &str = r#"
printf '%s %s\n' "$2" "$3" >> "$LOG"
export QREXEC_REMOTE_DOMAIN=work QREXEC_SERVICE_FULL_NAME="$3+"
exec "$QUBES_VM" "$3"
"#;

/// The directories of one test.
pub struct Place {
    top: tempfile::TempDir,
}

impl Place {
    /// `script` is what follows `#!/bin/sh` in the program that stands for qrexec-client-vm.
    pub fn new(script: &str) -> Self {
        let place = Self { top: tempfile::tempdir().unwrap() };
        for name in ["caller", "service", "home"] {
            fs::create_dir(place.top.path().join(name)).unwrap();
        }
        fs::set_permissions(place.top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        place.script("client", script);
        place
    }

    /// The service's words go to a file; `~/later` ends when it has said there that it waits, however long that takes.
    pub fn with_later() -> Self {
        let place = Self::new(&format!(r#"exec 2> "$LOG.said"{SERVE}"#));
        let look = r#"grep -q "waiting until" "$LOG.said" && exit"#;
        place.script("home/later", &format!("for i in $(seq 6000); do {look}; sleep 0.01; done; exit 1"));
        place
    }

    /// Fails unless the service has said these words there.
    #[track_caller]
    pub fn expect_said(&self, words: &str) {
        let said = fs::read_to_string(self.path("log.said")).unwrap();
        assert!(said.contains(words), "{said}");
    }

    /// A shell script of this name.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fixture::executable(&path, &format!("#!/bin/sh\n{text}\n"));
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    /// Where the user's files are.
    pub fn caller(&self) -> PathBuf {
        self.path("caller")
    }

    pub fn client(&self) -> PathBuf {
        self.path("client")
    }

    /// One line for each call that was made: target and service.
    pub fn calls(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A file of the user.
    pub fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.caller().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The names in the user's directory.
    pub fn names(&self) -> Vec<String> {
        names_in(&self.caller())
    }

    /// What is left where the service put its files.
    pub fn left_behind(&self) -> Vec<String> {
        names_in(&self.path("service"))
    }

    /// The program called `name`, in a clean environment; `with` opens things in the other qube.
    pub fn command(&self, name: &str, with: &str) -> Command {
        let mut command = Command::new(QUBES_VM);
        self.environment(command.arg(name), with);
        command
    }

    pub fn environment(&self, command: &mut Command, with: &str) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("service"))
            .env("QREXEC_CLIENT_VM", self.client())
            .env("QUBES_OPEN_WITH", with)
            .env("QUBES_OPEN_GRACE", "0")
            .env("QUBES_STORY", "1")
            .env("LOG", self.path("log"))
            .env("NOTE", self.path("note"))
            .env("QUBES_VM", QUBES_VM)
            .current_dir(self.caller())
            .stdin(Stdio::null());
    }

    /// Gives a service this request as a call from the qube `work`.
    pub fn serve(&self, service: &str, with: &str, request: &[u8]) -> Output {
        let mut command = self.command(service, with);
        command.env("QREXEC_REMOTE_DOMAIN", "work").stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A service may end before it has read everything.
        drop(child.stdin.take().unwrap().write_all(request));
        child.wait_with_output().unwrap()
    }

    /// Opens one file in a disposable.
    pub fn open(&self, with: &str, file: impl AsRef<OsStr>) -> Done {
        self.open_all(with, &[file.as_ref()])
    }

    pub fn open_all(&self, with: &str, words: &[&OsStr]) -> Done {
        Done::of(self.command("qvm-open-in-dvm", with).args(words).output().unwrap())
    }

    /// Starts opening a file and waits until the application has written its note.
    pub fn start(&self, with: &str, file: &Path) -> (Child, String) {
        let mut command = self.command("qvm-open-in-dvm", with);
        let child = command.arg(file).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        (child, self.await_note())
    }

    /// What an application wrote to `$NOTE`, once it has written a whole line.
    pub fn await_note(&self) -> String {
        let note = || fs::read_to_string(self.path("note")).unwrap_or_default();
        await_that("a note", || note().ends_with('\n'));
        note().trim_end().to_owned()
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        let stderr = String::from_utf8(output.stderr).unwrap();
        Self { code: output.status.code(), stdout: output.stdout, stderr }
    }

    /// Fails with all that is known unless the exit code is `code` and every one of `words` was said.
    #[track_caller]
    pub fn expect(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "\"{word}\" is missing in {self:?}");
        }
        assert!(self.stdout.is_empty(), "{self:?}");
        self
    }
}

pub use fixture::eventually as await_that;

/// Whether the process runs; one that has ended and waits for its parent does not.
pub fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Bytes that no compression or text handling would leave alone.
pub fn noise(length: usize) -> Vec<u8> {
    fixture::random_bytes(0x9e37_79b9_7f4a_7c15, length)
}
