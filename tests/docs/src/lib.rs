//! Commands in the documentation: found here, run by the tests of this package and by `rpm/prove`.
#![forbid(unsafe_code)]

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
