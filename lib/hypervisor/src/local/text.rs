//! Lines of fields: how a description travels to the supervisor and how a record is kept.
//!
//! A line is fields separated by one blank. In a field, every byte that is not printable ASCII, and `%` itself, is
//! written `%XX`; so any path fits, and a field never holds a blank or a line break.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// One line, line break included.
pub(super) fn line(fields: &[&OsStr]) -> String {
    let mut out = String::new();
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(&encode(field));
    }
    out.push('\n');
    out
}

/// The fields of a line without its line break; `None` when an escape is broken.
pub(super) fn fields(line: &str) -> Option<Vec<OsString>> {
    line.split(' ').map(decode).collect()
}

pub(super) fn encode(field: &OsStr) -> String {
    let mut out = String::with_capacity(field.len());
    for &byte in field.as_bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

pub(super) fn decode(field: &str) -> Option<OsString> {
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            out.push(digit(bytes.next()?)? << 4 | digit(bytes.next()?)?);
        } else {
            out.push(byte);
        }
    }
    Some(OsString::from_vec(out))
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_fields_round_trip(input in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)) {
            let input: Vec<OsString> = input.into_iter().map(OsString::from_vec).collect();
            let borrowed: Vec<&OsStr> = input.iter().map(OsString::as_os_str).collect();
            let line = line(&borrowed);
            prop_assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            prop_assert_eq!(fields(&line[..line.len() - 1]), Some(input));
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        for bad in ["%", "%4", "a%", "%zz", "%-1"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
