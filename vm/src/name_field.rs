//! The name field of qubes.OpenInVM: the first 256 bytes of the request (spec/open-file.md, section 2).

use crate::emptied::{self, Emptied};
use std::fmt::{self, Display, Formatter};

/// Length of the field in bytes, its NUL included.
pub(crate) const NAME_FIELD: usize = 256;
const LONGEST: usize = NAME_FIELD - 1;
const VIEW_ONLY: &[u8] = b"view-only-";
/// What a user's own name gets in place of the prefix, so that the receiver does not take it for the flag (M40).
const NOT_VIEW_ONLY: &[u8] = b"view_only-";

/// Makes the field for a file of this name. A name that is too long keeps its end, and with it the extension. Every
/// byte behind the name is NUL (S9), but for the word for an emptied file, which goes where a long name leaves room for it.
pub(crate) fn encode(name: &[u8], view_only: bool, emptied: Option<Emptied>) -> [u8; NAME_FIELD] {
    let mut text = if view_only { VIEW_ONLY.to_vec() } else { Vec::new() };
    let room = LONGEST - text.len();
    text.extend_from_slice(name.get(name.len().saturating_sub(room)..).unwrap_or(name));
    if !view_only && text.starts_with(VIEW_ONLY) {
        text.splice(..NOT_VIEW_ONLY.len(), NOT_VIEW_ONLY.iter().copied());
    }
    let mut field = [0; NAME_FIELD];
    if let (Some(emptied), true) = (emptied, text.len() <= LONGEST - emptied::ROOM) {
        let slots = field.iter_mut().skip(LONGEST + 1 - emptied::ROOM);
        slots.zip(emptied.in_field()).for_each(|(slot, byte)| *slot = byte);
    }
    for (slot, byte) in field.iter_mut().zip(text) {
        *slot = byte;
    }
    field
}

/// What the field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    /// A name of 1 to 255 bytes, of letters, digits and `._-+@` alone; neither `.` nor `..`.
    pub(crate) name: String,
    /// Whether the file is only to be looked at.
    pub(crate) view_only: bool,
    /// What the caller understands as "it is empty now", if it does.
    pub(crate) emptied: Option<Emptied>,
}

/// Reads a field that another qube made: everything in it is a claim.
pub(crate) fn decode(field: &[u8; NAME_FIELD]) -> Result<NamedFile, NameFieldError> {
    let end = field.iter().take(LONGEST).position(|&byte| byte == 0).unwrap_or(LONGEST);
    let text = field.get(..end).unwrap_or_default();
    let (name, view_only) = match text.strip_prefix(VIEW_ONLY) {
        Some(name) => (name, true),
        None => (text, false),
    };
    if name.contains(&b'/') {
        return Err(NameFieldError::Slash);
    }
    let name: String = name.iter().map(|&byte| if is_plain(byte) { char::from(byte) } else { '_' }).collect();
    match name.as_str() {
        "" => Err(NameFieldError::Empty),
        "." | ".." => Err(NameFieldError::Dots),
        _ => {
            let end_of_field =
                field.get(LONGEST - emptied::ROOM..LONGEST).filter(|_| end <= LONGEST - emptied::ROOM);
            Ok(NamedFile { name, view_only, emptied: end_of_field.and_then(Emptied::from_field) })
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'@')
}

/// Why a field names no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameFieldError {
    Empty,
    Dots,
    Slash,
}

impl Display for NameFieldError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the file name that came is empty",
            Self::Dots => "the file name that came is \".\" or \"..\"",
            Self::Slash => "the file name that came holds a \"/\"",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(name: &[u8], view_only: bool) -> NamedFile {
        decode(&encode(name, view_only, None)).unwrap()
    }

    fn plain(name: &str, view_only: bool) -> NamedFile {
        NamedFile { name: name.into(), view_only, emptied: None }
    }

    #[test]
    fn s9_the_field_is_byte_exact() {
        let field = encode(b"a b.txt", false, None);
        assert_eq!(&field[..7], b"a b.txt");
        assert!(field[7..].iter().all(|&byte| byte == 0));
        assert_eq!(&encode(b"x", true, None)[..12], b"view-only-x\0");
    }

    #[test]
    fn m41_names() {
        for (name, shown) in [
            (&b"a b.txt"[..], "a_b.txt"),
            ("\u{dc}ber.txt".as_bytes(), "__ber.txt"),
            (b"-rf", "-rf"),
            (b".hidden", ".hidden"),
            (b"a\nb", "a_b"),
            (b"a+b@c.txt", "a+b@c.txt"),
            (b"100%.c++", "100_.c++"),
        ] {
            assert_eq!(sent(name, false), plain(shown, false));
            assert_eq!(sent(name, true), plain(shown, true));
        }
        let long = [b"a".repeat(296), b".txt".to_vec()].concat();
        assert_eq!(sent(&long, false).name.len(), 255);
        assert_eq!(sent(&long, true).name.len(), 245);
        assert!(sent(&long, true).name.ends_with("a.txt"));
    }

    #[test]
    fn m40_a_users_own_prefix_is_not_the_flag() {
        assert_eq!(sent(b"view-only-x.txt", false), plain("view_only-x.txt", false));
        assert_eq!(sent(b"view-only-x.txt", true), plain("view-only-x.txt", true));
        let long = [b"aaa".to_vec(), b"view-only-".to_vec(), b"b".repeat(245)].concat();
        assert!(!sent(&long, false).view_only);
    }

    #[test]
    fn s10_fields_that_name_no_file() {
        let mut slash = [0; NAME_FIELD];
        slash[..6].copy_from_slice(b"../x\0\0");
        assert_eq!(decode(&slash), Err(NameFieldError::Slash));
        assert_eq!(decode(&[0; NAME_FIELD]), Err(NameFieldError::Empty));
        assert_eq!(decode(&encode(b"", true, None)), Err(NameFieldError::Empty));
        assert_eq!(decode(&encode(b"..", false, None)), Err(NameFieldError::Dots));
        // No NUL anywhere: the last byte does not count.
        assert_eq!(decode(&[b'x'; NAME_FIELD]).unwrap().name.len(), 255);
    }

    #[test]
    fn m33_the_word_for_an_emptied_file_stands_where_public_services_do_not_look() {
        let word = Emptied::new();
        for (length, fits) in
            [(1, true), (255 - emptied::ROOM, true), (256 - emptied::ROOM, false), (255, false)]
        {
            let field = encode(&vec![b'n'; length], false, Some(word));
            assert_eq!((field[length], field[255]), (0, 0));
            let file = decode(&field).unwrap();
            assert_eq!((file.name.len(), file.emptied), (length, fits.then_some(word)), "{length}");
        }
        // What an old caller left of its environment behind the name is no such word (S9).
        let mut field = encode(b"a", false, Some(word));
        field[240] = b' ';
        assert_eq!(decode(&field).unwrap().emptied, None);
        // A name that looks like the word is a name.
        let mut field = [b'n'; NAME_FIELD];
        field[231..255].copy_from_slice(&encode(b"a", false, Some(word))[231..255]);
        assert_eq!(decode(&field).unwrap().emptied, None);
    }

    proptest! {
        #[test]
        fn s10_any_field_gives_a_plain_name_or_an_error(bytes in prop::collection::vec(any::<u8>(), NAME_FIELD)) {
            let field: [u8; NAME_FIELD] = bytes.try_into().unwrap();
            if let Ok(file) = decode(&field) {
                prop_assert!((1..=LONGEST).contains(&file.name.len()));
                prop_assert!(file.name.bytes().all(is_plain));
                prop_assert!(!matches!(file.name.as_str(), "." | ".."));
            }
        }

        #[test]
        fn the_flag_is_what_was_sent(name in prop::collection::vec(1u8.., 1..300), view_only: bool) {
            if let Ok(file) = decode(&encode(&name, view_only, None)) {
                prop_assert_eq!(file.view_only, view_only);
            }
        }
    }
}
