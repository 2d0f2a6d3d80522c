//! What `--version` of every command says.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::Write;

/// Says the line if these words ask for it: then the exit code, 1 where it could not be said. For the first lines of a `main`.
#[must_use]
pub fn told(program: &str, words: &[OsString]) -> Option<u8> {
    is_asked(words).then(|| writeln!(std::io::stdout(), "{}", line(program)).is_err().into())
}

/// The line for a program: its name, the version of the project, and the commit that was built, which is
/// "unknown commit" only where neither a checkout nor a source archive tells.
fn line(program: &str) -> String {
    format!("{program} {} ({})", env!("CARGO_PKG_VERSION"), env!("COMMIT"))
}

/// Whether these words (without the program's name) ask for the version: `--version` and nothing else.
fn is_asked(words: &[OsString]) -> bool {
    matches!(words, [word] if word == "--version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_told() {
        let line = line("x");
        let commit = line.strip_prefix(concat!("x ", env!("CARGO_PKG_VERSION"), " (")).unwrap();
        let commit = commit.strip_suffix(')').unwrap();
        assert!(commit == "unknown commit" || commit.len() >= 7, "{line}");
    }

    #[test]
    fn only_the_one_word_asks() {
        let words = |line: &[&str]| line.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(is_asked(&words(&["--version"])));
        assert!(!is_asked(&words(&[])) && !is_asked(&words(&["--version", "x"])));
    }
}
