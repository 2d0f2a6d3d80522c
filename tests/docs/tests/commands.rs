//! Every command in the documentation runs. Those of dom0 are run by `rpm/prove`; here it is seen that it knows their page.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use docs::{Block, blocks};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The pages at the top and in docs/, with their blocks.
fn pages() -> Vec<(PathBuf, Vec<Block>)> {
    let in_directory =
        |directory: PathBuf| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = in_directory(top()).chain(in_directory(top().join("docs"))).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    assert!(paths.len() >= 10, "{paths:?}");
    paths.into_iter().map(|path| (path.clone(), blocks(&fs::read_to_string(path).unwrap()))).collect()
}

#[test]
fn each_block_says_where_it_is_run() {
    let prove = fs::read_to_string(top().join("rpm/prove")).unwrap();
    for (path, blocks) in pages() {
        for block in blocks {
            let place = format!("{}:{}", path.display(), block.line);
            assert!(matches!(block.kind.as_str(), "sh" | "sh dom0" | "text"), "{place}: {:?}", block.kind);
            if block.kind == "sh dom0" {
                let page = path.file_name().unwrap().to_str().unwrap();
                assert!(
                    prove.contains(&format!("run_page docs/{page}")),
                    "{place}: rpm/prove does not run it"
                );
            }
        }
    }
}

/// In an empty directory; `cargo` there is that of the checkout.
#[test]
fn blocks_of_shell_commands_run() {
    let mut count = 0;
    for (path, blocks) in pages() {
        let script: String =
            blocks.iter().filter(|block| block.kind == "sh").map(|block| block.text.as_str()).collect();
        if script.is_empty() {
            continue;
        }
        count += 1;
        let directory = tempfile::tempdir().unwrap();
        let cargo = directory.path().join("cargo");
        let run = format!(
            "#!/bin/sh\nverb=$1\nshift\nexec {} \"$verb\" --quiet --locked --manifest-path {}/Cargo.toml \"$@\"\n",
            env!("CARGO"),
            top().display()
        );
        fixture::executable(&cargo, &run);
        let path_variable = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
        let work = directory.path().join("work");
        fs::create_dir(&work).unwrap();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(&work)
            .env("PATH", path_variable)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {output:?}", path.display());
    }
    assert!(count >= 1);
}

/// Names of files, packages and tests that the pages speak of.
#[test]
fn what_pages_name_is_there() {
    let manifests = fs::read_to_string(top().join("Cargo.lock")).unwrap();
    for (path, _) in pages() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}", path.display(), number + 1);
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
