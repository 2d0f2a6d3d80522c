//! Every command in the documentation is run by something: `sh` in `running/shell.rs`, `sh GATE` by the file that
//! `docs::GATES` names, which reads it out of the page. Here it is seen that each is one of these, and that nothing that looks
//! like a command stands anywhere else.
#![allow(clippy::unwrap_used)]

use docs::{GATES, Page, blocks, pages, prose, top};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// What a page has that nothing runs, each with its place.
fn unheld(page: &Page) -> Vec<String> {
    let blocks = blocks(&page.text);
    let mut found = Vec::new();
    for block in &blocks {
        let why = match (block.kind.as_str(), block.commands()) {
            (_, Some((gate, stays))) => not_run(&page.name, gate, stays),
            ("usage" | "text", None) => None,
            (kind, None) => Some(format!("\"{kind}\" says nothing of who runs it (docs/develop.md)")),
        };
        found.extend(why.map(|why| format!("{}:{}: {why}", page.name, block.line)));
    }
    for (number, line) in prose(&page.text) {
        let place = format!("{}:{number}", page.name);
        // Markdown takes these for blocks as well.
        if line.starts_with("    ") || line.starts_with('\t') {
            found.push(format!("{place}: a block without a fence: {line}"));
        } else if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            found.push(format!("{place}: a fence that is no ``` at the line's begin: {line}"));
        }
    }
    found
}

/// Why the commands for a gate on this page are not run by it.
fn not_run(page: &str, gate: &str, stays: bool) -> Option<String> {
    if gate.is_empty() {
        return None;
    }
    let Some((_, file)) = GATES.iter().find(|(name, _)| *name == gate) else {
        return Some(format!("nothing is called \"{gate}\""));
    };
    let in_rust = file.ends_with(".rs");
    if stays && !in_rust {
        return Some(format!("{file} runs nothing that stays"));
    }
    let reads = if in_rust { format!("/{page}\"), \"{gate}\"") } else { format!(" {page} {gate}") };
    let is_read = |line: &str| {
        let code = line.trim_start();
        let mut behind = code.match_indices(&reads).map(|(at, _)| &code[at + reads.len()..]);
        !code.starts_with(['#', '/']) && behind.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
    };
    let text = fs::read_to_string(top().join(file)).unwrap_or_default();
    (!text.lines().any(is_read)).then(|| format!("{file} does not read it"))
}

#[test]
fn each_command_is_run_by_something() {
    let found: Vec<_> = pages().iter().flat_map(unheld).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A command cannot hide where nothing is run: no line of a `text` begins with a word that begins a command elsewhere.
#[test]
fn a_text_holds_no_command() {
    let pages = pages();
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut programs: BTreeSet<_> =
        ["apt", "apt-get", "bash", "cargo", "dnf", "git", "make", "man", "rpm", "sh", "sudo", "systemctl"]
            .map(str::to_owned)
            .into();
    for block in pages.iter().flat_map(|page| blocks(&page.text)) {
        if block.kind != "text" {
            // A variable that is set for a command is no program.
            programs.extend(block.text.lines().filter_map(first).filter(|word| !word.contains('=')));
        }
    }
    assert!(programs.contains("qubes-host") && programs.contains("qvm-dispvm"), "{programs:?}");
    for page in &pages {
        for block in blocks(&page.text).iter().filter(|block| block.kind == "text") {
            for (number, line) in block.text.lines().enumerate() {
                let word = first(line).filter(|_| !line.starts_with(' ')).unwrap_or_default();
                let word = word.trim_start_matches(['$', '#']);
                let place = block.line + 1 + number;
                assert!(!programs.contains(word), "{}:{place}: a command in a text: {line}", page.name);
            }
        }
    }
}

/// The scripts read a page as this package does.
#[test]
fn scripts_read_what_is_there() {
    let mut count = 0;
    for page in pages() {
        for (gate, _) in GATES {
            let blocks = blocks(&page.text);
            let own = blocks.iter().filter(|block| block.commands() == Some((gate, false)));
            let expected: String = own.map(|block| block.text.as_str()).collect();
            let output = Command::new(top().join("tests/docs/commands"))
                .args([&page.path().display().to_string(), *gate])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{} {gate}", page.name);
            // A gate whose block is gone has to notice.
            assert_eq!(output.status.success(), !expected.is_empty(), "{} {gate}", page.name);
            count += usize::from(!expected.is_empty());
        }
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn what_nothing_runs_is_found() {
    let page = |text: &str| Page { name: "docs/operate.md".into(), text: text.into() };
    for (text, part) in [
        ("```\nls\n```\n", ":1: \"\" says nothing"),
        ("a\n```bash\nls\n```\n", ":2: \"bash\" says nothing"),
        ("```sh nowhere\nls\n```\n", ":1: nothing is called \"nowhere\""),
        ("```sh debian\nls\n```\n", ":1: debian/prove does not read it"),
        ("```sh dom0 stays\nls\n```\n", ":1: rpm/prove runs nothing that stays"),
        ("```sh xen\nls\n```\n", ":1: tests/xen/suite/calls/page.rs does not read it"),
        ("a\n\n    ls\n", ":3: a block without a fence"),
        ("a\n\n\tls\n", ":3: a block without a fence"),
        ("- a\n\n  ```sh\n  ls\n  ```\n", ":3: a fence that is no ```"),
        ("~~~\nls\n~~~\n", ":1: a fence that is no ```"),
    ] {
        let found = unheld(&page(text));
        assert!(found.first().is_some_and(|first| first.contains(part)), "{text:?}: {found:?}");
    }
    for text in ["```sh\nls\n```\n", "```sh dom0\nls\n```\n", "```text\n    x\n```\n", "- a\n  b\n"] {
        assert_eq!(unheld(&page(text)), Vec::<String>::new(), "{text:?}");
    }
}
