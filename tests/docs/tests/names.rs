//! What the pages name is there: files, packages, tests.
#![allow(clippy::unwrap_used)]

use docs::{pages, top};
use std::fs;
use std::path::Path;

/// Names of files, packages and tests that the pages speak of.
#[test]
fn what_pages_name_is_there() {
    let manifests = fs::read_to_string(top().join("Cargo.lock")).unwrap();
    for page in pages() {
        let path = page.path();
        for (number, line) in page.text.lines().enumerate() {
            let place = format!("{}:{}", page.name, number + 1);
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if !link.starts_with("http") {
                    let file = link.split('#').next().unwrap();
                    assert!(path.parent().unwrap().join(file).exists(), "{place}: {link}");
                }
            }
            for command in line.split("cargo ").skip(1) {
                let words: Vec<_> = command.split([' ', '`', ',']).collect();
                for pair in words.windows(2).filter(|pair| pair[0] == "-p") {
                    assert!(manifests.contains(&format!("name = \"{}\"\n", pair[1])), "{place}: {}", pair[1]);
                }
            }
        }
    }
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
