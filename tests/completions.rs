//! The shells' completions, asked of the real shells where they are installed; and that they know every option of `--help`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::HOST;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn completions(shell: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/completions").join(shell)
}

fn has(shell: &str) -> bool {
    let runs = Command::new(shell).args(["-c", "true"]).status().is_ok_and(|status| status.success());
    if !runs {
        eprintln!("SKIPPED: {shell} is not installed here");
    }
    runs
}

fn lines(command: &mut Command) -> Vec<String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What bash offers for the last of these words; files are those of `directory`.
fn bash(directory: &Path, file: &str, words: &[&str]) -> Vec<String> {
    // As readline does: the function that `complete` names, with the words in its variables.
    let script = r#"
        . "$0" || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
        function=$(complete -p "$1") || exit 1
        function=${function#*-F } function=${function%% *}
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        ((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
        exit 0"#;
    let mut command = Command::new("bash");
    command
        .args(["--norc", "-c", script])
        .arg(completions("bash").join(file))
        .args(words)
        .current_dir(directory);
    lines(&mut command)
}

#[test]
fn bash_completes_commands_options_targets_and_files() {
    if !has("bash") {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    for name in ["a b.txt", "-x.txt"] {
        std::fs::write(top.path().join(name), "").unwrap();
    }
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("qvm-open-in-vm", &["qvm-open-in-dvm", "--v"], &["--view-only"]),
        ("qvm-open-in-vm", &["qvm-open-in-dvm", "a"], &["a b.txt"]),
        ("qvm-open-in-vm", &["qvm-open-in-dvm", "--", "-"], &["-x.txt"]),
        ("qvm-open-in-vm", &["qvm-open-in-vm", "@"], &["@dispvm", "@default"]),
        ("qvm-open-in-vm", &["qvm-open-in-vm", "--view-only", "work", "a"], &["a b.txt"]),
        ("qubes-host", &["qubes-host", "s"], &["serve"]),
        ("qubes-host", &["qubes-host", "open", "--p"], &["--preload", "--policy-socket", "--processes"]),
        ("qubes-host", &["qubes-host", "open", "--preload", ""], &[]),
        ("qubes-host", &["qubes-host", "open", "--json", "a"], &["a b.txt"]),
        ("qubes-host", &["qubes-host", "exec", ""], &["work"]),
        ("qubes-host", &["qubes-host", "exec", "work", "--", "--"], &[]),
        ("qvm-dispvm", &["qvm-dispvm", "d"], &["drain", "doctor"]),
        ("qvm-dispvm", &["qvm-dispvm", "policy", "e"], &["eval", "explain"]),
        ("qvm-dispvm", &["qvm-dispvm", "run", "--dispvm", "=", ""], &["@dispvm"]),
        ("qvm-dispvm", &["qvm-dispvm", "run", "--dispvm", "="], &["@dispvm"]),
        ("qvm-dispvm", &["qvm-dispvm", "run", "--", "--s"], &[]),
    ];
    for (file, words, expected) in cases {
        assert_eq!(bash(top.path(), file, words), *expected, "{words:?}");
    }
}

#[test]
fn fish_completes_commands_options_and_targets() {
    if !has("fish") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let cases: &[(&str, &str, &[&str])] = &[
        ("qvm-open-in-dvm", "qvm-open-in-dvm --v", &["--view-only"]),
        ("qvm-open-in-vm", "qvm-open-in-vm @", &["@default", "@dispvm"]),
        ("qubes-host", "qubes-host s", &["serve"]),
        ("qubes-host", "qubes-host open --p", &["--policy-socket", "--preload", "--processes"]),
        ("qvm-dispvm", "qvm-dispvm policy e", &["eval", "explain"]),
        ("qvm-dispvm", "qvm-dispvm run --s", &["--service", "--state"]),
        ("qvm-dispvm", "qvm-dispvm doctor --", &["--json", "--state"]),
    ];
    for (file, line, expected) in cases {
        let mut command = Command::new("fish");
        command.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]);
        command.arg(completions("fish").join(format!("{file}.fish"))).arg(line);
        command
            .env("HOME", home.path())
            .env("XDG_CONFIG_HOME", home.path())
            .env("XDG_DATA_HOME", home.path());
        let offered: Vec<String> =
            lines(&mut command).iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
        assert_eq!(offered, *expected, "{line}");
    }
}

#[test]
fn zsh_completes_commands_and_options() {
    if !has("zsh") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let cases = [
        ("qubes-host ", "serve"),
        ("qubes-host open --p", "--preload"),
        ("qvm-dispvm ", "doctor"),
        ("qvm-dispvm policy ", "explain"),
        ("qvm-dispvm run --s", "--service"),
        ("qvm-open-in-dvm --", "--view-only"),
        ("qvm-open-in-vm @d", "@dispvm"),
    ];
    // A shell on a terminal of its own. Its line editor says when it is there, and when it has listed what fits.
    let script = r#"
        zmodload zsh/zpty
        zpty shell "TERM=dumb zsh -f -i"
        zpty -w shell 'stty rows 100 cols 200; PS1=; fpath=('$1' $fpath); autoload -Uz compinit; compinit -D -u
            list() { zle list-choices; zle -R; BUFFER=; print; print DO''NE }; zle -N list; bindkey "^I" list
            there() { print -n REA''DY }; zle -N zle-line-init there'
        zpty -r -m shell REPLY '*READY*' || exit 1
        shift
        for line; do
            zpty -w -n shell "$line"$'\t'
            zpty -r -m shell REPLY '*DONE*' || exit 1
            print -r -- "CASE $REPLY"
        done
        zpty -d shell"#;
    let mut command = Command::new("zsh");
    command.args(["-f", "-c", script, "zsh"]).arg(completions("zsh")).env("HOME", home.path());
    let offered = lines(command.args(cases.map(|(line, _)| line))).join("\n");
    let offered: Vec<&str> = offered.split("CASE ").skip(1).collect();
    assert_eq!(offered.len(), cases.len(), "{offered:?}");
    for ((line, expected), offered) in cases.iter().zip(offered) {
        assert!(offered.contains(expected), "{line}: {offered}");
    }
}

/// No option is forgotten: each of a program's help is in each of its completions.
#[test]
fn every_option_of_help_is_in_every_completion() {
    for (program, file) in
        [("qubes-host", "qubes-host"), ("qvm-dispvm", "qvm-dispvm"), ("qvm-open-in-dvm", "qvm-open-in-vm")]
    {
        let output = Command::new(HOST).arg0(program).arg("--help").output().unwrap();
        let help = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let options: Vec<&str> = help
            .split(|c: char| c.is_whitespace() || "[]=.,;:".contains(c))
            .filter_map(|word| word.strip_prefix("--"))
            .filter(|word| !word.is_empty())
            .collect();
        assert!(!options.is_empty());
        for shell in ["bash", "zsh", "fish"] {
            let name = match shell {
                "zsh" => format!("_{file}"),
                "fish" => format!("{program}.fish"),
                _ => file.to_owned(),
            };
            let text = std::fs::read_to_string(completions(shell).join(&name)).unwrap();
            for option in &options {
                let written = if shell == "fish" { format!(" -l {option} ") } else { format!("--{option}") };
                assert!(text.contains(&written), "{shell}/{name}: --{option} is missing");
            }
        }
    }
}
