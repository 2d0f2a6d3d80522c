//! Bytes of a peer until they are a message.

use qubes_qrexec_sys::Header;

/// Received bytes in order. The reader compares the length in a header with its limit before it waits for a body, so
/// that never more than one body of allowed length and one read are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next header as its sender claims it. It stays where it is.
    pub(super) fn claim(&self) -> Option<Header> {
        self.rest().get(..Header::SIZE).map(|header| Header::from_bytes(array(header)))
    }

    /// Takes header and body of the next message, if its `len` bytes of body are all here.
    pub(super) fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let end = Header::SIZE.checked_add(len)?;
        let body = self.rest().get(Header::SIZE..end)?.to_vec();
        self.taken += end;
        Some(body)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }
}

/// The first `N` bytes; zeros where there are fewer. Readers have compared the length before.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}
