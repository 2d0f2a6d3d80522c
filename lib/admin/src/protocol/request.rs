//! Questions.

use crate::ErrorClass;
use names::QubeRef;
use std::fmt;

/// Longest request in bytes, header and payload together (spec/admin-api.md, section 2).
pub const MAX_REQUEST: usize = 65_536;

/// A question as it came in, with names checked but not looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, for example `admin.vm.Start`.
    pub method: &'a str,
    /// The argument; empty when there was none.
    pub argument: &'a str,
    /// Who asks.
    pub source: QubeRef,
    /// What the question is about.
    pub destination: QubeRef,
    /// Everything after the header.
    pub payload: &'a [u8],
}

/// Why bytes are no question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// Not a request at all: the connection is closed without an answer.
    Framing(&'static str),
    /// A request with a name that is none: answered with this error.
    Refused {
        /// The class to answer with.
        class: ErrorClass,
        /// The text to answer with.
        message: String,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Framing(reason) => write!(f, "not an Admin API request: {reason}"),
            Self::Refused { class, message } => write!(f, "{message} ({class})"),
        }
    }
}

impl std::error::Error for RequestError {}

impl<'a> Request<'a> {
    /// Reads a whole request: all bytes up to the end of input.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_REQUEST {
            return Err(RequestError::Framing("more than 65536 bytes"));
        }
        let end =
            bytes.iter().position(|&b| b == 0).ok_or(RequestError::Framing("no NUL after the header"))?;
        let (header, payload) = bytes.split_at(end);
        let payload = payload.get(1..).unwrap_or_default();
        if !header.iter().all(|b| (0x21..0x7f).contains(b) || *b == b' ') {
            return Err(RequestError::Framing("a header of other than printable ASCII"));
        }
        let header = std::str::from_utf8(header).map_err(|_| RequestError::Framing("header is no text"))?;
        let mut words = header.split(' ');
        let (Some(call), Some(source), Some(kind), Some(destination), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err(RequestError::Framing("the header has not four words"));
        };
        let (method, argument) = call.split_once('+').unwrap_or((call, ""));
        let source = qube(source)?;
        let destination = match (kind, destination) {
            ("name", destination) => qube(destination)?,
            ("keyword", "adminvm") => QubeRef::Name(names::QubeName::dom0()),
            _ => return Err(RequestError::Framing("a destination that is neither name nor adminvm")),
        };
        Ok(Self { method, argument, source, destination, payload })
    }
}

fn qube(text: &str) -> Result<QubeRef, RequestError> {
    text.parse().map_err(|_| {
        if text.starts_with("uuid:") {
            RequestError::Refused {
                class: ErrorClass::QubesVMInvalidUUIDError,
                message: format!("VM UUID is not valid: '{text}'"),
            }
        } else {
            RequestError::Refused {
                class: ErrorClass::QubesValueError,
                message: format!("invalid VM name: '{text}'"),
            }
        }
    })
}

/// The bytes of a question from dom0, as dom0's own tools send it: `METHOD+ARG dom0 name DEST NUL PAYLOAD`.
#[must_use]
pub fn encode_request(method: &str, argument: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method}+{argument} dom0 name {destination}\0").into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_parses() {
        let bytes = encode_request("admin.vm.feature.Set", "a+b", "work", b"1\0");
        let request = Request::parse(&bytes).unwrap();
        assert_eq!((request.method, request.argument), ("admin.vm.feature.Set", "a+b"));
        assert_eq!(request.destination.to_string(), "work");
        assert_eq!(request.payload, b"1\0");
    }

    #[test]
    fn framing_errors_have_no_answer() {
        for bad in [
            &b""[..],
            b"admin.vm.List dom0 name dom0",
            b"admin.vm.List dom0 name\0",
            b"admin.vm.List dom0 name dom0 x\0",
            b"admin.vm.List dom0 keyword dispvm\0",
            b"admin.vm.List dom0 other dom0\0",
            b"admin.vm.List  dom0 name dom0\0",
            b"admin\xff dom0 name dom0\0",
        ] {
            assert!(matches!(Request::parse(bad), Err(RequestError::Framing(_))), "{bad:?}");
        }
        let long = [b"a dom0 name dom0\0".as_slice(), &[b'x'; MAX_REQUEST]].concat();
        assert!(matches!(Request::parse(&long), Err(RequestError::Framing(_))));
        assert!(Request::parse(&long[..MAX_REQUEST]).is_ok());
    }

    #[test]
    fn bad_names_are_answered() {
        let class = |bytes: &[u8]| match Request::parse(bytes) {
            Err(RequestError::Refused { class, .. }) => Some(class),
            _ => None,
        };
        assert_eq!(class(b"m dom0 name ../x\0"), Some(ErrorClass::QubesValueError));
        assert_eq!(class(b"m dom0 name uuid:12\0"), Some(ErrorClass::QubesVMInvalidUUIDError));
        assert_eq!(Request::parse(b"m dom0 keyword adminvm\0").unwrap().destination.to_string(), "dom0");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = Request::parse(&bytes).is_ok();
        }
    }
}
