//! What `deny.toml` says, held without cargo-deny: licences, sources and bans of everything that is built.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use toml::Table;

fn tree() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--all-features",
            "--filter-platform=x86_64-unknown-linux-gnu",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    // What is resolved for the platform; the list of packages alone has every platform's.
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let ids: Vec<_> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let packages = metadata["packages"].as_array().unwrap();
    packages.iter().filter(|package| ids.contains(&package["id"].as_str().unwrap())).cloned().collect()
}

fn rules() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deny.toml");
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Whether an SPDX expression can be kept with these licences. "/" is an old "OR"; brackets hold one level.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let flat = expression.replace('/', " OR ");
    if let Some((bracket, rest)) = flat.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        let rest = rest.trim();
        return is_allowed(bracket, allowed)
            && rest.strip_prefix("AND ").is_none_or(|more| is_allowed(more, allowed));
    }
    flat.split(" OR ").any(|choice| choice.split(" AND ").all(|one| allowed.contains(&one.trim())))
}

#[test]
fn licences_sources_and_bans() {
    let rules = rules();
    let allowed: Vec<_> =
        rules["licenses"]["allow"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let banned: Vec<_> =
        rules["bans"]["deny"].as_array().unwrap().iter().map(|ban| ban["crate"].as_str().unwrap()).collect();
    let tree = tree();
    assert!(tree.len() > 30);
    for package in &tree {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence, &allowed), "{name}: licence {licence:?}");
        assert!(!banned.contains(&name), "{name} is banned");
        let is_macro =
            package["targets"].as_array().unwrap().iter().any(|target| target["kind"][0] == "proc-macro");
        assert!(!is_macro, "{name} is a procedural macro");
        let source = package["source"].as_str();
        assert!(source.is_none_or(|source| source.starts_with("registry+")), "{name} is from {source:?}");
    }
}

#[test]
fn licence_expressions() {
    let allowed = ["MIT", "Unicode-3.0", "Apache-2.0"];
    for yes in ["MIT", "X OR MIT", "Apache-2.0/MIT", "(MIT OR X) AND Unicode-3.0", "MIT AND Apache-2.0"] {
        assert!(is_allowed(yes, &allowed), "{yes}");
    }
    for no in ["X", "", "MIT AND X", "(MIT OR Apache-2.0) AND X", "(X OR Y) AND MIT"] {
        assert!(!is_allowed(no, &allowed), "{no}");
    }
}
