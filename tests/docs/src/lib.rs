//! Commands in the documentation: found here, run by the tests of this package and by `rpm/prove`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

/// The checkout.
///
/// # Panics
/// When it is not where it was when this was built.
#[must_use]
pub fn top() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    top.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", top.display()))
}

/// The pages at the top and in docs/, by name.
///
/// # Panics
/// When they are not there.
#[must_use]
pub fn pages() -> Vec<PathBuf> {
    let list = |directory: PathBuf| {
        let entries = directory.read_dir().unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        entries.filter_map(|entry| Some(entry.ok()?.path()))
    };
    let mut pages: Vec<_> = list(top()).chain(list(top().join("docs"))).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    assert!(pages.len() >= 10, "{pages:?}");
    pages
}

/// One fenced block of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The line of the page on which it begins, counted from 1.
    pub line: usize,
    /// What stands behind the fence: `sh`, `sh dom0`, …
    pub kind: String,
    /// The lines inside, each with its line break.
    pub text: String,
}

/// The fenced blocks of a page in Markdown, in order. One without an end reaches to the end of the page.
#[must_use]
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (open.as_mut(), line.strip_prefix("```")) {
            (None, Some(kind)) => {
                open = Some(Block { line: number + 1, kind: kind.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks.extend(open);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_kind_and_place() {
        let page = "a\n```sh dom0\nx\ny\n```\nb\n```\nz\n";
        let block = |line, kind: &str, text: &str| Block { line, kind: kind.into(), text: text.into() };
        assert_eq!(blocks(page), [block(2, "sh dom0", "x\ny\n"), block(7, "", "z\n")]);
    }
}
