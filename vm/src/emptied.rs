//! How an emptied file comes back, although an empty reply means "unchanged" (M33).
//!
//! The caller puts a word of its own choice into the name field, behind the name, where public services do not look
//! (spec/open-file.md, section 2: the name ends at its NUL). A service that finds one answers with exactly that word when the
//! file was emptied. Nobody else sends it: public services do not know it, and it is chosen anew for each call. A
//! hostile service gains nothing, since it may send whatever content it likes anyway.

use crate::landing::random_suffix;

/// Tells a word from what an old caller may have left behind the name (S9).
const MARK: &[u8; 8] = b"emptied=";
const WORD: usize = 16;
/// How many bytes of the name field are taken, the NUL before them included.
pub(crate) const ROOM: usize = 1 + MARK.len() + WORD;

/// The reply that means "it is empty now".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Emptied([u8; WORD]);

impl Emptied {
    /// A new one for one call.
    pub(crate) fn new() -> Self {
        let mut word = [0; WORD];
        for (slot, byte) in word.iter_mut().zip(random_suffix().bytes()) {
            *slot = byte;
        }
        Self(word)
    }

    /// The whole reply.
    pub(crate) fn reply(&self) -> &[u8] {
        &self.0
    }

    /// What stands at the end of the name field, before its last NUL.
    pub(crate) fn in_field(self) -> impl Iterator<Item = u8> {
        MARK.iter().copied().chain(self.0)
    }

    /// Reads the last bytes of a name field, without its last NUL; `None` when they are no such word.
    pub(crate) fn from_field(end: &[u8]) -> Option<Self> {
        let word = end.strip_prefix(b"\0")?.strip_prefix(MARK)?;
        Self::from_word(word.try_into().ok()?)
    }

    /// `None` unless these are hexadecimal digits.
    pub(crate) fn from_word(word: [u8; WORD]) -> Option<Self> {
        word.iter().all(u8::is_ascii_hexdigit).then_some(Self(word))
    }
}
