//! What the pages say of our programs' command lines is what their help says.

use crate::built;
use docs::{blocks, pages, spans};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// What a program says of itself: its help, or its usage where there is no option for help.
fn help(program: &str) -> String {
    let mut command = if has_its_own_executable(program) {
        Command::new(built(program))
    } else {
        Command::new(std::env::current_exe().unwrap())
    };
    let output = command.arg0(program).arg("--help").stdin(Stdio::null()).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Whether it is none of those that `qubes-host` answers to.
fn has_its_own_executable(program: &str) -> bool {
    let manual = docs::top().join("docs/man");
    // They share a page.
    let program = program.replace("qvm-open-in-dvm", "qvm-open-in-vm");
    !["1", "8"].iter().any(|section| manual.join(format!("{program}.{section}")).exists())
}

fn words(line: &str) -> String {
    let line = line.replace('…', "...");
    let words: Vec<_> = line.split_whitespace().skip_while(|word| word.ends_with(':')).collect();
    words.join(" ")
}

/// Commands of our programs between backticks, and the examples of the man pages: their options, and the word behind
/// `qvm-dispvm` and `qubes-host`, are known to their help.
pub(crate) fn commands_in_the_prose_are_known() {
    let mut count = 0;
    for page in pages() {
        for (number, span) in spans(&page.text) {
            count += usize::from(is_known(&format!("{}:{number}: {span}", page.name), span));
        }
    }
    assert!(count >= 15, "{count}");
    let mut examples = 0;
    for path in docs::top().join("docs/man").read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        let page = fs::read_to_string(&path).unwrap().replace("\\-", "-");
        let section = page.split(".SH ").find_map(|section| section.strip_prefix("EXAMPLES\n"));
        for line in section.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('.')) {
            let place = format!("{}: {line}", path.display());
            assert!(is_known(&place, line), "{place}: no command of ours");
            examples += 1;
        }
    }
    assert!(examples >= 5, "{examples}");
}

/// Whether this is a command of ours; one that its program would not understand fails the test.
fn is_known(place: &str, command: &str) -> bool {
    let Some((program, rest)) = command.split_once(' ').filter(|(word, _)| !has_its_own_executable(word))
    else {
        return false;
    };
    let help = help(program);
    // What stands between quotes is somebody else's, and behind -- no option is left.
    let rest = rest.split(['\'', '"']).next().unwrap().split(" -- ").next().unwrap();
    for option in rest.split_whitespace().filter(|word| word.len() > 2 && word.starts_with('-')) {
        let option = option.split('=').next().unwrap();
        assert!(help.contains(option), "{place}: {program} knows no {option}");
    }
    let first = rest.split_whitespace().next().unwrap();
    if matches!(program, "qvm-dispvm" | "qubes-host") && !first.starts_with('-') {
        assert!(help.contains(&format!("{program} {first}")), "{place}: {program} knows no {first}");
    }
    true
}

/// Every block marked `usage`.
pub(crate) fn is_the_programs_own() {
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page.text).iter().filter(|block| block.kind == "usage") {
            for (number, line) in block.text.lines().enumerate() {
                let place = format!("{}:{}", page.name, block.line + 1 + number);
                let program = line.split_whitespace().next().unwrap_or_else(|| panic!("{place}: empty"));
                let help = help(program);
                let is_there = help.lines().any(|told| words(told) == words(line));
                assert!(is_there, "{place}: {program} does not say so, but:\n{help}");
                count += 1;
            }
        }
    }
    assert!(count >= 5, "{count}");
}
