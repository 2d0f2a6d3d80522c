//! What the pages name is there: files, packages, tests, features.
#![allow(clippy::unwrap_used)]

use docs::{blocks, pages, prose, spans, top};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        for (number, line) in prose(&page.text) {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = link.split('#').next().unwrap();
                let is_there = link.starts_with("http") || page.path().parent().unwrap().join(file).exists();
                assert!(is_there, "{}:{number}: {link}", page.name);
            }
        }
    }
}

/// Files and folders of the tree, by their paths from its top or from the page.
#[test]
fn paths_in_the_prose_are_there() {
    let mut count = 0;
    for page in pages() {
        for (number, span) in spans(&page.text) {
            let path = span.split(' ').next().unwrap();
            let Some((folder, _)) = path.split_once('/').filter(|_| !path.contains(['*', '…', ':'])) else {
                continue;
            };
            let bases = [top(), page.path().parent().unwrap().to_owned()];
            let has = |name: &str| bases.iter().any(|base| base.join(name).exists());
            if folder != "target" && !folder.is_empty() && has(folder) {
                assert!(has(path), "{}:{number}: there is no {path}", page.name);
                count += 1;
            }
        }
    }
    assert!(count >= 50, "{count}");
}

/// `cargo …` in blocks and prose: its packages, tests and features are there. So `cargo test -p …` is a part of the
/// `cargo test --workspace` that `.ci/run` runs.
#[test]
fn cargo_finds_what_it_is_told() {
    let packages = packages();
    let mut count = 0;
    for page in pages() {
        let lines = blocks(&page.text).into_iter().map(|block| (block.line, block.text));
        let spans = spans(&page.text).map(|(number, span)| (number, span.to_owned()));
        for (number, text) in lines.chain(spans) {
            for command in text.lines().filter_map(|line| line.split("cargo ").nth(1)) {
                let place = format!("{}:{number}: cargo {command}", page.name);
                let words: Vec<_> = command.split_whitespace().take_while(|word| *word != "--").collect();
                let value = |option| words.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1]);
                // The workspace's default member.
                let name = value("-p").unwrap_or("qubes-host");
                let package =
                    packages.get(name).unwrap_or_else(|| panic!("{place}: there is no package {name}"));
                if let Some(test) = value("--test") {
                    let is_target = |target: &Value| target["name"] == test && target["kind"][0] == "test";
                    assert!(
                        package["targets"].as_array().unwrap().iter().any(is_target),
                        "{place}: no test {test}"
                    );
                }
                if let Some(feature) = value("--features") {
                    assert!(package["features"].get(feature).is_some(), "{place}: no feature {feature}");
                }
                count += 1;
            }
        }
    }
    assert!(count >= 15, "{count}");
}

/// The workspace's packages, as cargo tells them.
fn packages() -> HashMap<String, Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--no-deps"])
        .current_dir(top())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), package.clone())).collect()
}

/// Each line of SECURITY.md's table names a test of the tree, or the program that proves packages.
#[test]
fn each_threat_names_a_test_that_is_there() {
    let page = fs::read_to_string(top().join("SECURITY.md")).unwrap();
    let code = code_below(&top());
    let mut count = 0;
    for line in page.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let tests = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {line}");
        for name in named {
            let is_program = name.contains('/') && top().join(name).is_file();
            let function =
                name.strip_suffix('*').map_or(format!("fn {name}("), |start| format!("fn {start}"));
            assert!(is_program || code.contains(&function), "there is no {name}: {line}");
        }
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

/// All Rust of the tree, but for what others wrote and what cargo made.
fn code_below(directory: &Path) -> String {
    let mut code = String::new();
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && !matches!(&*name, "target" | "vendor") && !name.starts_with('.') {
            code += &code_below(&path);
        } else if name.ends_with(".rs") {
            code += &fs::read_to_string(&path).unwrap();
        }
    }
    code
}
