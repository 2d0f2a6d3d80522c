//! The man pages: each says what its program's `--help` says, and no more; and no tool complains about them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::HOST;
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Page and program.
const PAGES: &[(&str, &str)] = &[
    ("preload-dispvm.8", "preload-dispvm"),
    ("qrexec-agent.8", "qrexec-agent"),
    ("qrexec-client-vm.1", "qrexec-client-vm"),
    ("qrexec-daemon.8", "qrexec-daemon"),
    ("qrexec-policy-exec.1", "qrexec-policy-exec"),
    ("qubes-host.1", "qubes-host"),
    ("qvm-dispvm.1", "qvm-dispvm"),
    ("qvm-open-in-vm.1", "qvm-open-in-dvm"),
    ("qvm-open-in-vm.1", "qvm-open-in-vm"),
];

fn manual() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(manual().join(name)).unwrap()
}

/// What the program says of itself: its help, or its usage where there is no option for help.
fn help(program: &str) -> String {
    let output = Command::new(HOST).arg0(program).arg("--help").stdin(Stdio::null()).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// The options in a text: `-x` and `--long-name` at the begin of a word.
fn options(text: &str) -> BTreeSet<String> {
    let starts = |c: char| c.is_whitespace() || "[(|,\"".contains(c);
    text.split(starts)
        .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
        .map(|word| word.split(['=', '[', ']', '.']).next().unwrap_or_default())
        .filter(|word| {
            word.starts_with('-')
                && word.trim_start_matches('-').starts_with(|c: char| c.is_ascii_alphabetic())
        })
        .map(str::to_owned)
        .collect()
}

/// The text of a page without its markup: requests and font changes.
fn plain(page: &str) -> String {
    let mut text = page.replace("\\-", "-");
    for font in ["\\fB", "\\fI", "\\fR", "\\&"] {
        text = text.replace(font, " ");
    }
    text
}

/// The lines of one section.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let begin = page.find(&format!(".SH {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    let rest = &page[begin + 4..];
    rest.find("\n.SH ").map_or(rest, |end| &rest[..end])
}

#[test]
fn every_option_of_help_is_in_the_page_and_the_other_way_round() {
    for &(name, program) in PAGES {
        let text = page(name);
        let mut described = options(&plain(section(&text, "OPTIONS")));
        let mut told = options(&help(program));
        // `sed -i` in an example of the help, and what every program answers without telling so.
        told.remove("-i");
        for common in ["--help", "--version", "-h"] {
            described.remove(common);
            told.remove(common);
        }
        let has_none = program == "preload-dispvm";
        assert!(has_none || !told.is_empty(), "{program} tells no option: {}", help(program));
        assert_eq!(described, told, "{name} (left) and {program} --help (right)");
    }
}

#[test]
fn every_command_of_help_is_in_the_page_and_the_other_way_round() {
    for program in ["qubes-host", "qvm-dispvm"] {
        let text = page(&format!("{program}.1"));
        let described: BTreeSet<String> = section(&text, "COMMANDS")
            .split(".TP\n.B ")
            .skip(1)
            .map(|entry| entry.lines().next().unwrap().to_owned())
            .filter(|command| command != "help")
            .collect();
        let told: BTreeSet<String> = help(program)
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("  {program} ")))
            .map(|line| {
                let words = line.split_whitespace();
                words
                    .take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase()))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(described, told, "{program}.1 (left) and {program} --help (right)");
    }
}

#[test]
fn every_key_of_the_configuration_is_in_its_page() {
    let table = std::fs::read_to_string(manual().join("../dispvm.toml.md")).unwrap();
    let keys: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    let text = plain(&page("dispvm.toml.5"));
    let described: Vec<&str> = section(&text, "KEYS")
        .lines()
        .filter_map(|line| line.strip_prefix(".BR ")?.split_once(" \" ="))
        .map(|(key, _)| key)
        .collect();
    assert!(keys.len() > 10);
    assert_eq!(described, keys);
    let defaults =
        table.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split(" | ").nth(2));
    let told = text.replace("\\(dq", "\"");
    let told = told.lines().filter_map(|line| line.strip_prefix("Default: ")?.strip_suffix('.'));
    assert_eq!(told.collect::<Vec<_>>(), defaults.map(|word| word.trim_matches('`')).collect::<Vec<_>>());
}

#[test]
fn every_variable_of_the_opener_is_in_its_page() {
    let source = std::fs::read_to_string(manual().join("../../vm/src/lib.rs")).unwrap();
    let text = page("qvm-open-in-vm.1");
    for row in source.lines().filter(|line| line.contains("| qvm-open-in-vm |")) {
        let (_, variables) = row.split_once("//! | ").unwrap();
        let (variables, _) = variables.split_once(" |").unwrap();
        for variable in variables.split(", ").map(|name| name.trim_matches('`')) {
            let is_display = variable.ends_with("DISPLAY");
            assert!(is_display || text.contains(&format!(".B {variable}\n")), "{variable} is missing");
        }
    }
}

#[test]
fn every_page_is_in_order() {
    let pages: Vec<PathBuf> =
        std::fs::read_dir(manual()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(pages.len() > 8);
    let checks: &[(&str, &[&str])] = &[
        ("mandoc", &["-Tlint", "-Wwarning"]),
        ("groff", &["-man", "-Tutf8", "-ww"]),
        ("man", &["--warnings", "-l"]),
    ];
    for (program, options) in checks {
        if Command::new(program).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            eprintln!("SKIPPED: {program} is not installed here");
            continue;
        }
        for page in &pages {
            let mut command = Command::new(program);
            command
                .args(*options)
                .arg(page)
                .env("MANPAGER", "cat")
                .env("LC_ALL", "C.UTF-8")
                .env("MANWIDTH", "100");
            let output = command.stdin(Stdio::null()).output().unwrap();
            let said = if *program == "mandoc" { &output.stdout } else { &output.stderr };
            let said = String::from_utf8_lossy(said);
            assert!(output.status.success() && said.is_empty(), "{program} on {}: {said}", page.display());
        }
    }
}
