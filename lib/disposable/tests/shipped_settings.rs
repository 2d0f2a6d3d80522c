//! The `/etc/qubes/dispvm.toml` that packages install, and the pages that describe it, know every key and its default.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use disposable::config::Config;
use std::collections::BTreeSet;

const SHIPPED: &str = include_str!("../../../etc/dispvm.toml");
const PARSER: &str = include_str!("../src/config.rs");
const PAGES: [(&str, &str); 2] = [
    ("docs/dispvm.toml.md", include_str!("../../../docs/dispvm.toml.md")),
    ("docs/configure.md", include_str!("../../../docs/configure.md")),
];

/// The keys that the parser's `match` takes.
fn keys() -> BTreeSet<&'static str> {
    let body = PARSER.split_once("fn set(").unwrap().1.split_once("\n    }\n").unwrap().0;
    let keys: BTreeSet<_> = body
        .lines()
        .filter_map(|line| line.strip_prefix("            \"")?.split_once("\" => "))
        .map(|(key, _)| key)
        .collect();
    assert!(keys.len() >= 15, "{keys:?}");
    keys
}

/// The settings that the file shows behind a single `#`.
fn shown() -> Vec<&'static str> {
    let is_setting = |line: &&str| line.starts_with(|first: char| first.is_ascii_lowercase());
    SHIPPED.lines().filter_map(|line| line.strip_prefix('#')).filter(is_setting).collect()
}

#[test]
fn as_shipped_it_changes_nothing() {
    assert_eq!(Config::parse(SHIPPED).unwrap(), Config::default());
}

#[test]
fn every_key_is_shown_with_its_default() {
    let named: BTreeSet<_> = shown().into_iter().map(|line| line.split_once(" = ").unwrap().0).collect();
    assert_eq!(named, keys());
    // There is no default story to show.
    let defaults: Vec<_> = shown().into_iter().filter(|line| !line.starts_with("story")).collect();
    assert_eq!(Config::parse(&defaults.join("\n")).unwrap(), Config::default());
    for line in shown() {
        Config::parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn every_key_is_described() {
    for (page, text) in PAGES {
        for key in keys() {
            assert!(text.contains(&format!("| `{key}` |")), "{page} does not describe {key}");
        }
    }
}
