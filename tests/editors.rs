//! Editors as people use them, without a screen, on the embedded host: what was saved comes back, whatever the way of saving.
//!
//! An editor that is not installed is left out, and that is said. CI installs all but LibreOffice, which is large.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;
#[path = "common/edits.rs"]
mod edits;

use common::{code, open, text};
use edits::EDITS;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

const OLD: &str = "a draft\nof a draft\n";
const NEW: &str = "a final\nof a final\n";

struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir_in("/var/tmp").unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Opens a file of this content with this command line; what it holds afterwards.
    #[track_caller]
    fn edit(&self, with: &str, name: &str, content: &str, exit: i32) -> String {
        let file = self.path(name);
        fs::write(&file, content).unwrap();
        let output = open(["--preload=1".as_ref(), "--with".as_ref(), OsStr::new(with), file.as_os_str()]);
        assert_eq!(code(&output), exit, "{with}: {}", text(&output.stderr));
        fs::read_to_string(&file).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Edits with an editor, if it is there.
#[track_caller]
fn edits(program: &str, with: &str) {
    if !is_installed(program) {
        return;
    }
    let desk = Desk::new();
    assert_eq!(desk.edit(with, "report.txt", OLD, 0), NEW, "{with}");
    assert_eq!(desk.names(), ["report.txt"], "{with}");
}

fn is_installed(program: &str) -> bool {
    let is_there = ["/usr/bin", "/bin"].iter().any(|directory| Path::new(directory).join(program).exists());
    if !is_there {
        eprintln!("SKIPPED: {program} is not installed");
    }
    is_there
}

#[test]
fn sed_replaces_the_file() {
    edits("sed", "sed -i s/draft/final/");
}

#[test]
fn ed_writes_it_over() {
    edits("ed", r#"sh -c 'printf "%s\n" "1,\$s/draft/final/" w q | ed -s "$0"'"#);
}

#[test]
fn vim_writes_it_over_or_renames() {
    for backup in ["yes", "no"] {
        // `vim -es` is an improved Ex that talks to nobody; with backupcopy=no it renames the old file away.
        edits("vim", &format!("vim -u NONE -es -c 'set backupcopy={backup}' -c '%s/draft/final/' -c 'wq'"));
    }
}

#[test]
fn emacs_renames_the_old_one_to_a_backup() {
    let script = "(progn (find-file (car command-line-args-left)) (setq make-backup-files t) \
                  (while (search-forward \"draft\" nil t) (replace-match \"final\")) (save-buffer) (kill-emacs 0))";
    edits("emacs", &format!("emacs -Q --batch --eval '{script}'"));
}

#[test]
fn libreoffice_converts_in_place() {
    if !is_installed("soffice") {
        eprintln!("(Debian: libreoffice-writer-nogui; too large for every run)");
        return;
    }
    let desk = Desk::new();
    // It does not write over the file that it reads: the result takes its place.
    let with = r#"sh -c 'cd "$(dirname "$0")" && soffice --headless --convert-to rtf --outdir out "$0" && mv out/* "$0"'"#;
    let back = desk.edit(with, "letter.rtf", r"{\rtf1\ansi A draft.\par}", 0);
    assert!(back.starts_with(r"{\rtf1") && back.contains("A draft.") && back.len() > 200, "{back}");
}

#[test]
fn m37_a_launcher_that_forks_away_from_its_session() {
    let desk = Desk::new();
    let with = r#"sh -c 'setsid -f sh -c "sleep 0.4; sed -i s/draft/final/ \"\$0\"" "$0"; exit 0'"#;
    assert_eq!(desk.edit(with, "a+b@c.txt", OLD, 0), NEW);
}

#[test]
fn every_way_of_saving_comes_back() {
    let desk = Desk::new();
    for (name, with, old, new, exit) in EDITS {
        assert_eq!(desk.edit(with, &format!("{name} c++ (1).txt"), old, *exit), *new, "{name}");
    }
    let names = desk.names();
    let beside: Vec<_> = names.iter().filter(|name| name.ends_with(".edited")).collect();
    assert_eq!(
        (names.len(), beside.len()),
        (EDITS.len() + 1, 1),
        "only what a killed editor had saved is kept: {names:?}"
    );
    assert_eq!(fs::read_to_string(desk.path(beside[0])).unwrap(), "hal");
}
