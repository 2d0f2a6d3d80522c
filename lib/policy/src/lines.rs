//! Text into lines and words, with the column of each word.

/// One word of a line and where it starts, counted in characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    pub(crate) column: u32,
}

/// The lines of a text. A line ends with a line feed, a carriage return or both, as in the reference parser, which
/// reads with universal newlines.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest.filter(|text| !text.is_empty())?;
        let Some(end) = current.find(['\n', '\r']) else {
            rest = None;
            return Some(current);
        };
        let (line, tail) = current.split_at(end);
        rest = Some(tail.strip_prefix("\r\n").or_else(|| tail.get(1..)).unwrap_or(""));
        Some(line)
    })
}

/// The words of a line; empty for a blank line.
pub(crate) fn words(line: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut column = 0;
    for (index, character) in line.char_indices() {
        column += 1;
        match (is_space(character), start) {
            (true, Some((from, at))) => {
                words.push(Word { text: &line[from..index], column: at });
                start = None;
            }
            (false, None) => start = Some((index, column)),
            _ => {}
        }
    }
    if let Some((from, at)) = start {
        words.push(Word { text: &line[from..], column: at });
    }
    words
}

/// White space as the reference parser sees it: Unicode's, and the four ASCII separators.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends() {
        let text = "a\nb\r\nc\rd\n\ne";
        assert_eq!(lines(text).collect::<Vec<_>>(), ["a", "b", "c", "d", "", "e"]);
        assert_eq!(lines("a\n").count(), 1);
        assert_eq!(lines("").count(), 0);
        assert_eq!(lines("\r\n\r\n").count(), 2);
    }

    #[test]
    fn words_know_their_column() {
        let found: Vec<_> =
            words(" a\u{a0}bc\u{1f}é d").iter().map(|word| (word.text, word.column)).collect();
        assert_eq!(found, [("a", 2), ("bc", 4), ("é", 7), ("d", 9)]);
        assert!(words(" \t").is_empty());
    }
}
