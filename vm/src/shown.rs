//! The user's own names and counts, fit for one line on a terminal.

use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter, Write};
use std::os::unix::ffi::OsStrExt;

/// Shows a name from this qube: UTF-8 stays readable; control characters, characters that turn the writing direction
/// and bytes that are no UTF-8 become `_`. Names from other qubes go through [`names::printable`] instead.
pub(crate) fn shown<S: AsRef<OsStr> + ?Sized>(name: &S) -> Shown<'_> {
    Shown(name.as_ref())
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a>(&'a OsStr);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                f.write_char(if is_deceptive(character) { '_' } else { character })?;
            }
            for _ in chunk.invalid() {
                f.write_char('_')?;
            }
        }
        Ok(())
    }
}

fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Shows a count with commas: 1,234,567.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_utf8_and_lose_tricks() {
        let name = OsStr::from_bytes(b"Gr\xc3\xbc\xc3\x9fe\x1b[31m\n\xff\xe2\x80\xaefdp.exe");
        assert_eq!(shown(name).to_string(), "Gr\u{fc}\u{df}e_[31m___fdp.exe");
    }

    #[test]
    fn counts_are_grouped() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (count, text) in cases {
            assert_eq!(grouped(count), text);
        }
    }
}
