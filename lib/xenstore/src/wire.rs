//! Messages as bytes: a header of four little-endian words (type, request, transaction, length) and a payload
//! (xen/include/public/io/xs_wire.h). Pure.

use std::io;

/// Length of a header.
pub const HEADER: usize = 16;
/// No payload is longer (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_MAX: usize = 4096;

/// What is asked (`enum xsd_sockmsg_type`), as far as we ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Operation {
    /// Names below a path.
    Directory = 1,
    /// The value of a path.
    Read = 2,
    /// Tells of changes at and below a path.
    Watch = 4,
    /// Begins a transaction.
    TransactionStart = 6,
    /// Ends one.
    TransactionEnd = 7,
    /// Sets the value of a path.
    Write = 11,
    /// Removes a path and all below it.
    Remove = 13,
    /// Whether xenstore knows a domain; it forgets one that dies.
    IsDomainIntroduced = 17,
}

/// The type of a message that tells of a change.
pub const WATCH_EVENT: u32 = 15;
/// The type of an answer that is the name of an errno.
pub const ERROR: u32 = 16;

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// An [`Operation`], [`WATCH_EVENT`] or [`ERROR`].
    pub kind: u32,
    /// What an answer repeats of its request.
    pub request: u32,
    /// The transaction, 0 for none.
    pub transaction: u32,
    /// Bytes that follow, at most [`PAYLOAD_MAX`].
    pub length: usize,
}

impl Header {
    /// Takes a header apart.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: the payload would be longer than the protocol allows.
    pub fn parse(bytes: &[u8; HEADER]) -> io::Result<Self> {
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(bytes.get(at..at + 4).unwrap_or(&[0; 4]));
            u32::from_le_bytes(word)
        };
        let length = usize::try_from(word(12)).unwrap_or(usize::MAX);
        if length > PAYLOAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "xenstore: a message is too long"));
        }
        Ok(Self { kind: word(0), request: word(4), transaction: word(8), length })
    }
}

/// A whole request.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`]: longer than [`PAYLOAD_MAX`].
pub fn request(operation: Operation, request: u32, transaction: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= PAYLOAD_MAX)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "xenstore: a request is too long"))?;
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    for word in [operation as u32, request, transaction, length] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(payload);
    Ok(bytes)
}

/// Texts, each with its zero byte.
#[must_use]
pub fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text.bytes().chain([0])).collect()
}

/// The error that an answer of type [`ERROR`] names.
#[must_use]
pub fn error(payload: &[u8]) -> io::Error {
    let name = payload.split(|byte| *byte == 0).next().unwrap_or_default();
    let kind = match name {
        b"ENOENT" => io::ErrorKind::NotFound,
        b"EACCES" | b"EPERM" | b"EROFS" => io::ErrorKind::PermissionDenied,
        b"EINVAL" => io::ErrorKind::InvalidInput,
        b"EEXIST" => io::ErrorKind::AlreadyExists,
        b"EAGAIN" => io::ErrorKind::Interrupted,
        b"ENOMEM" | b"ENOSPC" | b"EQUOTA" | b"E2BIG" => io::ErrorKind::OutOfMemory,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("xenstore: {}", names::printable(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_header_and_payload() {
        let bytes = request(Operation::Read, 7, 3, &texts(&["domid"])).unwrap();
        let head: &[u8; HEADER] = bytes[..HEADER].try_into().unwrap();
        assert_eq!(Header::parse(head).unwrap(), Header { kind: 2, request: 7, transaction: 3, length: 6 });
        assert_eq!(&bytes[HEADER..], b"domid\0");
    }

    #[test]
    fn too_long_is_refused_both_ways() {
        assert!(request(Operation::Write, 0, 0, &[0; PAYLOAD_MAX + 1]).is_err());
        let mut head = [0; HEADER];
        head[12..].copy_from_slice(&4097u32.to_le_bytes());
        assert!(Header::parse(&head).is_err());
    }

    #[test]
    fn errors_have_their_kind_and_no_control_byte() {
        assert_eq!(error(b"ENOENT\0").kind(), io::ErrorKind::NotFound);
        assert_eq!(error(b"EACCES\0").kind(), io::ErrorKind::PermissionDenied);
        assert!(!error(b"E\x1b[2J\0").to_string().contains('\x1b'));
    }
}
