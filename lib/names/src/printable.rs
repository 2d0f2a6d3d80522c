//! Bytes from a qube, made fit for a log, a terminal or a message.

use std::fmt;

/// Shows untrusted bytes with every byte outside printable ASCII replaced by `_`.
///
/// The rule is qrexec's own for filtered output (spec/qrexec-wire.md 7.5) without its exceptions: no newline, tab,
/// backspace or bell either, so that one value stays on one line.
#[derive(Clone, Copy)]
pub struct Printable<'a>(&'a [u8]);

/// Wraps untrusted bytes for display; see [`Printable`].
#[must_use]
pub fn printable(bytes: &[u8]) -> Printable<'_> {
    Printable(bytes)
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            let shown = if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '_' };
            fmt::Write::write_char(f, shown)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn p7_no_control_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert!(printable(&all).to_string().bytes().all(|b| (0x20..0x7f).contains(&b)));
        assert_eq!(printable(b"a\x1b[31m\n").to_string(), "a_[31m_");
    }
}
