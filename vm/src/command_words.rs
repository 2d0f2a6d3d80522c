//! A command line in one text, split into words without a shell.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Splits at blanks, tabs and newlines. `'…'` holds anything but `'`; in `"…"` a `\` before `"`, `\`, `$` or `` ` `` loses its
/// own meaning, as in a shell; elsewhere `\` makes the next byte an ordinary one. Nothing is expanded. No word at all is
/// `Ok` and empty.
pub(crate) fn split(text: &OsStr) -> Result<Vec<OsString>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' => words.extend(word.take().map(OsString::from_vec)),
            b'\'' | b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next().ok_or(WordsError::OpenQuote(char::from(byte)))? {
                        end if end == byte => break,
                        b'\\' if byte == b'"' => {
                            let escaped = bytes.next_if(|&next| matches!(next, b'"' | b'\\' | b'$' | b'`'));
                            word.push(escaped.unwrap_or(b'\\'));
                        }
                        inner => word.push(inner),
                    }
                }
            }
            b'\\' => word.get_or_insert_default().push(bytes.next().ok_or(WordsError::LastBackslash)?),
            byte => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word.map(OsString::from_vec));
    Ok(words)
}

/// Why a text is no command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WordsError {
    OpenQuote(char),
    LastBackslash,
}

impl Display for WordsError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenQuote(quote) => write!(f, "the quote {quote} is not closed"),
            Self::LastBackslash => f.write_str("nothing follows the last \\"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Result<Vec<String>, WordsError> {
        split(OsStr::new(text))
            .map(|words| words.iter().map(|word| word.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn known_lines() {
        assert_eq!(words("sed -i s/draft/final/").unwrap(), ["sed", "-i", "s/draft/final/"]);
        assert_eq!(
            words(" \t a  'b c' \"d \\\" e\\x\" f\\ g ''\n").unwrap(),
            ["a", "b c", "d \" e\\x", "f g", ""]
        );
        assert_eq!(words("a'b'\"c\"d").unwrap(), ["abcd"]);
        assert_eq!(words("$HOME `x` *").unwrap(), ["$HOME", "`x`", "*"]);
        assert_eq!(words(r#"sh -c "cp \"\$1\" \`x\`""#).unwrap(), ["sh", "-c", "cp \"$1\" `x`"]);
        assert_eq!(words("  ").unwrap(), [""; 0]);
        assert_eq!(words("a 'b"), Err(WordsError::OpenQuote('\'')));
        assert_eq!(words("a \"b\\\""), Err(WordsError::OpenQuote('"')));
        assert_eq!(words("a \\"), Err(WordsError::LastBackslash));
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(given in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..6)) {
            let mut line = Vec::new();
            for word in &given {
                line.push(b'"');
                for &byte in word {
                    if matches!(byte, b'"' | b'\\') {
                        line.push(b'\\');
                    }
                    line.push(byte);
                }
                line.extend(b"\" ");
            }
            let back: Vec<Vec<u8>> =
                split(OsStr::from_bytes(&line)).unwrap().into_iter().map(OsString::into_vec).collect();
            prop_assert_eq!(back, given);
        }

        #[test]
        fn any_text_ends_in_an_answer(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let longest = text.len();
            if let Ok(words) = split(OsStr::from_bytes(&text)) {
                prop_assert!(words.iter().map(|word| word.len()).sum::<usize>() <= longest);
            }
        }
    }
}
