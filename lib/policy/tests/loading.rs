//! Files, directories, directives, limits, and what an error says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory;

use memory::Memory;
use policy::{Directories, LoadError, LoadErrorKind, Policy};
use std::os::unix::fs::symlink;
use std::path::Path;

fn load(files: &mut Memory) -> Result<Policy, LoadError> {
    Policy::from_source(files, &["/p"], Path::new("/legacy"))
}

fn error_of(text: &str) -> String {
    load(&mut Memory::of([("/p/30-user.policy", text)])).unwrap_err().to_string()
}

#[test]
fn an_error_names_file_line_column_and_word() {
    assert_eq!(
        error_of("# rules\n\n qubes.OpenURL  *  work  vault  alow"),
        "/p/30-user.policy:3:33: \"alow\" is no action: allow, deny or ask"
    );
    assert_eq!(
        error_of("a * work vault allow user=x traget=y"),
        "/p/30-user.policy:1:29: the action \"allow\" has no parameter \"traget\""
    );
    assert_eq!(error_of("a * work vault"), "/p/30-user.policy:1:10: a rule needs 5 words, here are 4");
    assert_eq!(error_of("a * w\u{1b}[31mé @x deny"), "/p/30-user.policy:1:13: \"@x\" is no target");
    assert_eq!(error_of("!includ x"), "/p/30-user.policy:1:1: \"!includ\" is no directive");
    assert_eq!(error_of("\n!include \u{1b}x"), "/p/30-user.policy:2:10: /p/_x is no file");
}

#[test]
fn an_error_in_an_included_file_names_that_file() {
    let mut files = Memory::of([("/p/1.policy", "!include inc/../inc/x"), ("/p/inc/x", "\na * $x vault")]);
    assert_eq!(load(&mut files).unwrap_err().to_string(), "/p/inc/x:2:8: a rule needs 5 words, here are 4");
}

#[test]
fn old_rules_are_refused_with_the_remedy() {
    let compat = |legacy: &str| {
        load(&mut Memory::of([("/p/35-compat.policy", "# c\n!compat-4.0"), (legacy, "@anyvm @anyvm ask")]))
    };
    for ignored in
        ["/elsewhere/x", "/legacy/.x", "/legacy/x.rpmsave", "/legacy/x.swp", "/legacy/x y", "/legacy/dir/x"]
    {
        assert_eq!(compat(ignored).unwrap().rules(), [], "{ignored}");
    }
    let error = compat("/legacy/qubes.Filecopy+x").unwrap_err();
    assert_eq!((error.line, error.column), (Some(2), Some(1)));
    let text = error.to_string();
    assert!(
        text.contains("/legacy") && text.contains("qubes.Filecopy+x") && text.contains("policy.d"),
        "{text}"
    );
}

#[test]
fn cycles_end_however_long() {
    let mut files = Memory::of([("/p/1.policy", "!include a"), ("/p/a", "!include ./a")]);
    assert!(matches!(load(&mut files).unwrap_err().kind, LoadErrorKind::IncludeCycle(_)));
    let mut files = Memory::of([("/p/1.policy", "!include-service x * a"), ("/p/a", "$include:1.policy")]);
    assert!(matches!(load(&mut files).unwrap_err().kind, LoadErrorKind::IncludeCycle(_)));
    let mut files = Memory::of([("/p/1.policy", "!include 0")]);
    for depth in 0..100 {
        files.0.insert(format!("/p/{depth}").into(), format!("!include {}", depth + 1).into_bytes());
    }
    assert!(matches!(load(&mut files).unwrap_err().kind, LoadErrorKind::TooMuch(_)));
}

#[test]
fn includes_cannot_multiply_without_limit() {
    // Thirty files that each include the next one twice: a billion readings without the limit.
    let mut files = Memory::of([("/p/1.policy", "!include 0"), ("/p/30", "")]);
    for depth in 0..30 {
        let next = depth + 1;
        files
            .0
            .insert(format!("/p/{depth}").into(), format!("!include {next}\n!include {next}").into_bytes());
    }
    assert!(matches!(load(&mut files).unwrap_err().kind, LoadErrorKind::TooMuch(_)));
    let mut files = Memory::of([("/p/1.policy", "!include big\n!include big")]);
    files.0.insert("/p/big".into(), vec![b'#'; 3 * 1024 * 1024]);
    assert!(matches!(load(&mut files).unwrap_err().kind, LoadErrorKind::TooMuch(_)));
}

#[test]
fn real_directories() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().canonicalize().unwrap();
    let (run, etc) = (root.join("run"), root.join("etc"));
    std::fs::create_dir(&run).unwrap();
    let load = || Policy::load(&[&run, &etc]);

    let error = load().unwrap_err();
    assert_eq!(&*error.file, etc.as_path(), "a directory that is missing fails the load");
    std::fs::create_dir(&etc).unwrap();
    assert_eq!(load().unwrap().rules(), []);

    // A symbolic link to a file counts, under its own name; a directory and a dangling link do not.
    std::fs::write(root.join("real"), "a * work vault allow").unwrap();
    symlink("../real", etc.join("20-link.policy")).unwrap();
    symlink("../nothing", etc.join("10-dangling.policy")).unwrap();
    std::fs::create_dir(etc.join("15-directory.policy")).unwrap();
    let policy = load().unwrap();
    assert_eq!(policy.rules()[0].origin.to_string(), format!("{}/20-link.policy:1", etc.display()));
    assert_eq!(policy.rules().len(), 1);

    std::fs::write(etc.join("30-x.policy"), b"a * work vault deny\xff").unwrap();
    assert_eq!(load().unwrap_err().kind, LoadErrorKind::NotText);
    std::fs::write(run.join("30-x.policy"), "!include ../real\n!include-dir ../etc/none").unwrap();
    let error = load().unwrap_err();
    assert_eq!((error.line, error.column), (Some(2), Some(14)));
    assert_eq!(error.kind, LoadErrorKind::NotADirectory(etc.join("none")));
}

#[test]
fn a_named_pipe_is_no_file_and_does_not_block() {
    let root = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("mkfifo").arg(root.path().join("pipe")).status().unwrap();
    assert!(made.success());
    std::fs::write(root.path().join("10.policy"), "!include pipe").unwrap();
    let error =
        Policy::from_source(&mut Directories::new(), &[root.path()], Path::new("/nothing")).unwrap_err();
    assert!(matches!(error.kind, LoadErrorKind::NotAFile(_)), "{error}");
}

#[test]
fn cost_is_linear_in_the_text() {
    // 60,000 rules; anything quadratic in lines or words would not come back within the test's time.
    let mut text = "qubes.OpenURL +a work @dispvm:default-dvm ask target=vault\n".repeat(60_000);
    let policy = load(&mut Memory::of([("/p/1.policy", &text)])).unwrap();
    assert_eq!(policy.rules().len(), 60_000);
    text = "x ".repeat(1_500_000);
    assert!(load(&mut Memory::of([("/p/1.policy", &text)])).is_err());
}
