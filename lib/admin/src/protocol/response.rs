//! Answers.

use crate::ErrorClass;
use std::fmt;

/// Longest answer that we read, in bytes. The protocol has no limit of its own; a system info of ten thousand qubes
/// stays below this.
pub const MAX_RESPONSE: usize = 16 * 1024 * 1024;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response<'a> {
    /// Success, with the result.
    Ok(&'a [u8]),
    /// Refused.
    Error {
        /// The kind of refusal.
        class: ErrorClass,
        /// A text for a person.
        message: String,
    },
}

/// Why bytes are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseError {
    /// Nothing at all: the other side closed without a word.
    Empty,
    /// Something else than an answer; the reason.
    Malformed(&'static str),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no answer"),
            Self::Malformed(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ResponseError {}

impl<'a> Response<'a> {
    /// Reads a whole answer: all bytes up to the end of the connection.
    ///
    /// # Errors
    /// See [`ResponseError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ResponseError> {
        match bytes {
            [] => Err(ResponseError::Empty),
            [b'0', 0, result @ ..] => Ok(Self::Ok(result)),
            [b'2', 0, rest @ ..] => parse_error(rest),
            [b'1', 0, ..] => Err(ResponseError::Malformed("an event instead of an answer")),
            _ => Err(ResponseError::Malformed("it starts with no known mark")),
        }
    }
}

fn parse_error<'a>(rest: &[u8]) -> Result<Response<'a>, ResponseError> {
    let mut fields = rest.split(|&b| b == 0);
    let (Some(class), Some(_traceback), Some(message), Some(_)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(ResponseError::Malformed("an error without class, traceback and message"));
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Response::Error { class: ErrorClass::from(text(class).as_str()), message: text(message) })
}

/// The bytes of a success.
#[must_use]
pub fn encode_ok(result: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(result.len() + 2);
    bytes.extend_from_slice(b"0\0");
    bytes.extend_from_slice(result);
    bytes
}

/// The bytes of a refusal, without traceback. NUL bytes in the message are left out.
#[must_use]
pub fn encode_error(class: &ErrorClass, message: &str) -> Vec<u8> {
    let message = message.replace('\0', "");
    format!("2\0{class}\0\0{message}\0").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_as_seen_upstream() {
        let bytes = encode_error(&ErrorClass::QubesVMNotFoundError, "No such domain: 'nosuch'");
        assert_eq!(bytes, b"2\0QubesVMNotFoundError\0\0No such domain: 'nosuch'\0");
        let Response::Error { class, message } = Response::parse(&bytes).unwrap() else { panic!() };
        assert_eq!((class, message.as_str()), (ErrorClass::QubesVMNotFoundError, "No such domain: 'nosuch'"));
        assert_eq!(Response::parse(&encode_ok(b"x\0y")), Ok(Response::Ok(b"x\0y")));
        assert_eq!(Response::parse(b""), Err(ResponseError::Empty));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..100)) {
            let _ = Response::parse(&bytes).is_ok();
        }
    }
}
