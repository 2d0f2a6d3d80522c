//! Headers and bodies (spec/qrexec-wire.md 1.2).
//!
//! Each type has `SIZE`, `to_bytes` and `from_bytes`. They translate and judge nothing: that a text is terminated or that
//! a port is in range is for the reader of the value to check. Where a variable text follows, the type is its fixed front.

/// In front of every message: type at 0, length of the body at 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// One of [`crate::message_type`], or a stranger's number.
    pub kind: u32,
    /// Length of the body in bytes; the header itself is not counted.
    pub len: u32,
}

impl Header {
    /// Bytes of a header.
    pub const SIZE: usize = 8;

    /// The header as on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        two_words(self.kind, self.len)
    }

    /// The header in these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let (kind, len) = words(bytes);
        Self { kind, len }
    }
}

/// Body of HELLO: u32 version at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerInfo {
    /// The version that the sender speaks.
    pub version: u32,
}

impl PeerInfo {
    /// Bytes of the body.
    pub const SIZE: usize = 4;

    /// The body as on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        self.version.to_ne_bytes()
    }

    /// The body in these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self { version: u32::from_ne_bytes(bytes) }
    }
}

/// Body of DATA_EXIT_CODE: i32 at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExitCode {
    /// Exit code of the service.
    pub code: i32,
}

impl ExitCode {
    /// Bytes of the body.
    pub const SIZE: usize = 4;

    /// The body as on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        self.code.to_ne_bytes()
    }

    /// The body in these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self { code: i32::from_ne_bytes(bytes) }
    }
}

/// `exec_params`: u32 connect_domain at 0, u32 connect_port at 4; a NUL-terminated text may follow and counts in the length.
///
/// It is also the body of CONNECTION_TERMINATED, of a daemon's answer to its client, and (without a header) of the
/// agent's answer to qrexec-client-vm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExecParams {
    /// Domain id of the other end of the data connection.
    pub connect_domain: u32,
    /// Port of the data connection; 0 asks the daemon to choose one.
    pub connect_port: u32,
}

impl ExecParams {
    /// Bytes of the fixed front.
    pub const SIZE: usize = 8;

    /// The front as on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        two_words(self.connect_domain, self.connect_port)
    }

    /// The front in these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let (connect_domain, connect_port) = words(bytes);
        Self { connect_domain, connect_port }
    }
}

/// `service_params`: the id of a request, 32 bytes, NUL-terminated text.
///
/// An agent chooses it (upstream: `SOCKET` and a descriptor number) and gets it back in SERVICE_CONNECT or SERVICE_REFUSED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ident(pub [u8; Ident::SIZE]);

impl Ident {
    /// Bytes of the body.
    pub const SIZE: usize = 32;

    /// The body as on the wire.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; Self::SIZE] {
        self.0
    }

    /// The body in these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        Self(bytes)
    }

    /// The text before the first NUL; all 32 bytes when there is none.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        text(&self.0)
    }
}

/// Trigger v2, the whole body of TRIGGER_SERVICE: service at 0 (64), target at 64 (32), request id at 96 (32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TriggerService2 {
    /// Service name with argument, NUL-terminated.
    pub service: [u8; 64],
    /// Target, NUL-terminated.
    pub target: [u8; 32],
    /// Request id.
    pub ident: Ident,
}

impl TriggerService2 {
    /// Bytes of the body.
    pub const SIZE: usize = 128;

    /// The body as on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..64].copy_from_slice(&self.service);
        bytes[64..96].copy_from_slice(&self.target);
        bytes[96..].copy_from_slice(&self.ident.0);
        bytes
    }

    /// The body in these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        Self { service: field(bytes, 0), target: field(bytes, 64), ident: Ident(field(bytes, 96)) }
    }
}

/// Trigger v3, front of TRIGGER_SERVICE3: target at 0 (64), request id at 64 (32); the NUL-terminated service follows at 96.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TriggerService3 {
    /// Target, NUL-terminated.
    pub target: [u8; 64],
    /// Request id.
    pub ident: Ident,
}

impl TriggerService3 {
    /// Bytes of the fixed front.
    pub const SIZE: usize = 96;

    /// The front as on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..64].copy_from_slice(&self.target);
        bytes[64..].copy_from_slice(&self.ident.0);
        bytes
    }

    /// The front in these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        Self { target: field(bytes, 0), ident: Ident(field(bytes, 64)) }
    }
}

/// Trigger v4, front of TRIGGER_SERVICE4: requested source at 0 (64), target at 64 (64), request id at 128 (32); the
/// NUL-terminated service follows at 160.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TriggerService4 {
    /// Requested source, NUL-terminated; empty when the caller asked for none.
    pub source: [u8; 64],
    /// Target, NUL-terminated.
    pub target: [u8; 64],
    /// Request id.
    pub ident: Ident,
}

impl TriggerService4 {
    /// Bytes of the fixed front.
    pub const SIZE: usize = 160;

    /// The front as on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..64].copy_from_slice(&self.source);
        bytes[64..128].copy_from_slice(&self.target);
        bytes[128..].copy_from_slice(&self.ident.0);
        bytes
    }

    /// The front in these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        Self { source: field(bytes, 0), target: field(bytes, 64), ident: Ident(field(bytes, 128)) }
    }
}

/// The part of a field before its first NUL; all of it when there is none.
#[must_use]
pub fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    field.get(..end).unwrap_or(field)
}

/// A field of `N` bytes that holds `text` and then NULs; `None` when text and one NUL do not fit or the text has a NUL.
#[must_use]
pub fn padded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() >= N || text.contains(&0) {
        return None;
    }
    let mut field = [0; N];
    field.get_mut(..text.len())?.copy_from_slice(text);
    Some(field)
}

const fn two_words(first: u32, second: u32) -> [u8; 8] {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    [a, b, c, d, e, f, g, h]
}

const fn words(bytes: [u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}

/// The `N` bytes at `at`, which every caller has taken inside its own `SIZE`.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    if let Some(source) = bytes.get(at..at + N) {
        field.copy_from_slice(source);
    }
    field
}
