//! The argument of qubes.VMExec: a whole command line in the characters that a service argument may have.
//!
//! Words are joined by `+`. Letters, digits, `_` and `.` stand for themselves, `-` is doubled, every other byte is `-`
//! and two upper-case hexadecimal digits. The format is that of `encode_for_vmexec` in qubes-core-admin-client and of
//! its reader in qubes-core-agent-linux.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::os::unix::ffi::OsStringExt;

/// Encodes a command line, for a call of `qubes.VMExec+ENCODED`.
///
/// An empty list and a list of one empty word both give the empty text, which the service refuses.
#[must_use]
pub fn encode<W: AsRef<[u8]>>(words: &[W]) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            text.push('+');
        }
        for &byte in word.as_ref() {
            match byte {
                b'-' => text.push_str("--"),
                byte if is_plain(byte) => text.push(char::from(byte)),
                byte => text.push_str(&format!("-{byte:02X}")),
            }
        }
    }
    text
}

/// Decodes what [`encode`] or upstream's encoder made.
///
/// # Errors
/// [`DecodeError`]: a text that neither could have made, or a word with a NUL byte, which no process can be given.
pub fn decode(text: &[u8]) -> Result<Vec<OsString>, DecodeError> {
    text.split(|&byte| byte == b'+').map(decode_word).collect()
}

fn decode_word(word: &[u8]) -> Result<OsString, DecodeError> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.iter().copied();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'-' => match rest.next() {
                Some(b'-') => b'-',
                Some(high) => {
                    let low = rest.next().ok_or(DecodeError::Escape)?;
                    hex_digit(high)? << 4 | hex_digit(low)?
                }
                None => return Err(DecodeError::Escape),
            },
            byte if is_plain(byte) => byte,
            byte => return Err(DecodeError::Character(byte)),
        };
        if decoded == 0 {
            return Err(DecodeError::Nul);
        }
        bytes.push(decoded);
    }
    Ok(OsString::from_vec(bytes))
}

fn hex_digit(byte: u8) -> Result<u8, DecodeError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(DecodeError::Escape),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')
}

/// Why a text is no encoded command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A byte outside letters, digits, `_`, `.`, `-` and `+`.
    Character(u8),
    /// A `-` that is followed neither by `-` nor by two upper-case hexadecimal digits.
    Escape,
    /// A NUL byte.
    Nul,
}

impl Display for DecodeError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(byte) => write!(f, "byte 0x{byte:02X} is not allowed in an encoded command"),
            Self::Escape => f.write_str("\"-\" is allowed only in \"--\" and \"-HH\" (H: 0-9, A-F)"),
            Self::Nul => f.write_str("a word of a command cannot hold a NUL byte"),
        }
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn known_texts() {
        assert_eq!(encode(&["ls", "-la", "/tmp/a b.txt"]), "ls+--la+-2Ftmp-2Fa-20b.txt");
        assert_eq!(encode(&["echo", "", "\u{fc}+"]), "echo++-C3-BC-2B");
        assert_eq!(decode(b"a--b+-41").unwrap(), ["a-b", "A"]);
        for (bad, error) in [
            (&b"-"[..], DecodeError::Escape),
            (b"a-4", DecodeError::Escape),
            (b"-2f", DecodeError::Escape),
            (b"a b", DecodeError::Character(b' ')),
            (b"-00", DecodeError::Nul),
        ] {
            assert_eq!(decode(bad), Err(error));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(words in prop::collection::vec(prop::collection::vec(1u8.., 0..20), 1..6)) {
            let text = encode(&words);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-+".contains(&b)));
            let back: Vec<Vec<u8>> =
                decode(text.as_bytes()).unwrap().iter().map(|word| word.as_bytes().to_vec()).collect();
            prop_assert_eq!(back, words);
        }

        #[test]
        fn s6_decoding_any_bytes_ends_in_an_answer(text in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(words) = decode(&text) {
                let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
                prop_assert!(words.iter().all(|word| !word.contains(&0)));
                prop_assert_eq!(decode(encode(&words).as_bytes()).unwrap().len(), words.len());
            }
        }
    }
}
