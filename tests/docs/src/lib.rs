//! Commands in the documentation: found here, run by the tests of this package and by the gates that [`GATES`] names.
//!
//! Every block on a page is fenced, and the words behind its fence say what it is:
//!
//! | words | what |
//! |---|---|
//! | `sh` | commands, run by `cargo test -p docs` in an empty directory |
//! | `sh GATE` | commands that something else runs, which reads them out of the page |
//! | `sh stays`, `sh GATE stays` | a command that goes on, in a terminal of its own, while those below it run |
//! | `usage` | how a command line is written: words of the program's own help |
//! | `text` | what is no command: output, a diagram |
#![forbid(unsafe_code)]

mod pages;
mod terminal;

pub use pages::{Page, pages, top};
pub use terminal::Terminals;

/// Who runs the blocks that are not run by `cargo test`: the word behind `sh`, and the file that reads them out of the page.
pub const GATES: &[(&str, &str)] = &[
    ("ci", ".ci/run"),
    ("lab", ".ci/run"),
    ("deny", ".ci/deny"),
    ("minimal", ".ci/minimal"),
    ("dom0", "rpm/prove"),
    ("fedora", "rpm/prove"),
    ("rpm", "rpm/prove"),
    ("debian", "debian/prove"),
    ("deb", "debian/prove"),
    ("xen", "tests/xen/suite/calls/page.rs"),
];

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

impl Block {
    /// For a block of commands: who runs them (empty: `cargo test`), and whether they go on while the others run.
    #[must_use]
    pub fn commands(&self) -> Option<(&str, bool)> {
        let rest = self.kind.strip_prefix("sh")?;
        let (gate, stays) = rest.strip_suffix(" stays").map_or((rest, false), |gate| (gate, true));
        if gate.is_empty() { Some(("", stays)) } else { Some((gate.strip_prefix(' ')?, stays)) }
    }
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

/// The lines of a page that are in no block, with their numbers, counted from 1.
pub fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_inside = false;
    page.lines().enumerate().filter_map(move |(number, line)| {
        let is_fence = line.starts_with("```");
        is_inside ^= is_fence;
        (!is_fence && !is_inside).then_some((number + 1, line))
    })
}

/// What stands between backticks in the prose of a page, each with its line.
pub fn spans(page: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(page).flat_map(|(number, line)| line.split('`').skip(1).step_by(2).map(move |span| (number, span)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(line: usize, kind: &str, text: &str) -> Block {
        Block { line, kind: kind.into(), text: text.into() }
    }

    #[test]
    fn blocks_are_found_with_kind_and_place() {
        let page = "a\n```sh dom0\nx\ny\n```\nb\n```\nz\n";
        assert_eq!(blocks(page), [block(2, "sh dom0", "x\ny\n"), block(7, "", "z\n")]);
        assert_eq!(prose(page).collect::<Vec<_>>(), [(1, "a"), (6, "b")]);
        let page = "`a b` c `d`\n```sh\n`x`\n```\n|`e`|\n";
        assert_eq!(spans(page).collect::<Vec<_>>(), [(1, "a b"), (1, "d"), (5, "e")]);
    }

    #[test]
    fn the_words_behind_a_fence() {
        for (kind, commands) in [
            ("sh", Some(("", false))),
            ("sh stays", Some(("", true))),
            ("sh dom0", Some(("dom0", false))),
            ("sh xen stays", Some(("xen", true))),
            ("text", None),
            ("shell", None),
            ("usage", None),
        ] {
            assert_eq!(block(1, kind, "").commands(), commands, "{kind}");
        }
    }
}
