//! Finds the commit that is built: named by the builder, carried by a source archive, or that of the checkout.
#![allow(clippy::print_stdout, reason = "cargo is told by lines on stdout")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=QUBES_DISPVM_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = named().or_else(archived).or_else(checked_out);
    println!("cargo::rustc-env=COMMIT={}", commit.as_deref().unwrap_or("unknown commit"));
}

fn named() -> Option<String> {
    std::env::var("QUBES_DISPVM_COMMIT").ok().and_then(usable)
}

/// `rpm/source` writes it into the archive, which has no history.
fn archived() -> Option<String> {
    let path = Path::new("../../.commit");
    if !path.exists() {
        return None;
    }
    println!("cargo::rerun-if-changed={}", path.display());
    std::fs::read_to_string(path).ok().and_then(usable)
}

fn checked_out() -> Option<String> {
    // Each commit, checkout and merge adds a line there.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    git(&["rev-parse", "--short=12", "HEAD"]).and_then(usable)
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A line that cannot be mistaken for anything else.
fn usable(text: String) -> Option<String> {
    let text = text.trim();
    let is_hash = (7..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}
