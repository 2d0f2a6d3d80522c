//! Bytes of a peer until they are a message.

/// The header of a message: type and length of the body, both as the peer claims them (spec/qrexec-wire.md, section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) kind: u32,
    pub(super) len: u32,
}

/// Received bytes in order. The caller compares the claimed length with its limit before it waits for a body, so that
/// never more than one body of allowed length and one read are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

const HEADER: usize = 8;

impl Inbox {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next header, which stays where it is.
    pub(super) fn claim(&self) -> Option<Claim> {
        let rest = self.rest();
        Some(Claim { kind: number(rest, 0)?, len: number(rest, 4)? })
    }

    /// Takes header and body of the next message, if its `len` bytes of body are all here.
    pub(super) fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let body = self.rest().get(HEADER..HEADER.checked_add(len)?)?.to_vec();
        self.taken += HEADER + len;
        Some(body)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }
}

/// The number at an offset, in the byte order of the machine.
pub(super) fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
