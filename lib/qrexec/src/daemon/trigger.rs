//! The agent's wish for a call, cleaned (spec/qrexec-wire.md 1.2 and 2.3).

use super::inbox::array;
use qubes_qrexec_sys::layout::text;
use qubes_qrexec_sys::{Ident, TriggerService2, TriggerService3, TriggerService4};
use std::fmt;

/// A wish for a call, made of characters that are safe in a line of text and in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The source that the caller wants to speak for; `None` in the older messages, which have no such field.
    pub requested_source: Option<String>,
    /// The target as asked for, at most 63 characters; may be empty.
    pub target: String,
    /// The service, with its argument if one was given; not empty, no `+` in front.
    pub service: String,
    /// The agent's name of the request: NUL-terminated text, NUL to the end. It is the agent's own; nobody else sees it.
    pub ident: Ident,
}

/// Why a trigger message is answered with SERVICE_REFUSED at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The request id has other characters, no NUL, or something after the NUL.
    Ident,
    /// The service field is not text that ends at its last byte.
    Termination,
    /// The service is empty.
    Empty,
    /// The service begins with `+`, so that it would have an argument and no name.
    NoName,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ident => "its request id is not NUL-terminated text of letters, digits, \"_-. \"",
            Self::Termination => "its service name does not end with the only NUL",
            Self::Empty => "its service name is empty",
            Self::NoName => "its service name begins with \"+\"",
        })
    }
}

impl Trigger {
    /// Reads TRIGGER_SERVICE; the body has exactly [`TriggerService2::SIZE`] bytes.
    ///
    /// # Errors
    /// The request's id as it came, and why the request is refused.
    pub fn from_v2(body: &[u8]) -> Result<Self, (Ident, Unfit)> {
        let TriggerService2 { service, target, ident } = TriggerService2::from_bytes(&array(body));
        // Unlike the later forms: the service is cleaned first and may be followed by anything after its NUL.
        Self::checked(None, &target, ident, Ok(clean(field(&service), b"+")))
    }

    /// Reads TRIGGER_SERVICE3; the body is longer than [`TriggerService3::SIZE`].
    ///
    /// # Errors
    /// The request's id as it came, and why the request is refused.
    pub fn from_v3(body: &[u8]) -> Result<Self, (Ident, Unfit)> {
        let TriggerService3 { target, ident } = TriggerService3::from_bytes(&array(body));
        Self::checked(None, &target, ident, terminated(body.get(TriggerService3::SIZE..).unwrap_or_default()))
    }

    /// Reads TRIGGER_SERVICE4; the body is longer than [`TriggerService4::SIZE`].
    ///
    /// # Errors
    /// The request's id as it came, and why the request is refused.
    pub fn from_v4(body: &[u8]) -> Result<Self, (Ident, Unfit)> {
        let TriggerService4 { source, target, ident } = TriggerService4::from_bytes(&array(body));
        let service = terminated(body.get(TriggerService4::SIZE..).unwrap_or_default());
        Self::checked(Some(&source), &target, ident, service)
    }

    fn checked(
        source: Option<&[u8]>,
        target: &[u8],
        ident: Ident,
        service: Result<String, Unfit>,
    ) -> Result<Self, (Ident, Unfit)> {
        if !is_ident(ident) {
            return Err((ident, Unfit::Ident));
        }
        let service = service.map_err(|unfit| (ident, unfit))?;
        match service.bytes().next() {
            None => Err((ident, Unfit::Empty)),
            Some(b'+') => Err((ident, Unfit::NoName)),
            Some(_) => Ok(Self {
                requested_source: source.map(|source| clean(field(source), b"@:")),
                target: clean(field(target), b"@:"),
                service,
                ident,
            }),
        }
    }
}

/// The text of a fixed field. Its last byte counts as NUL, whatever it is.
fn field(bytes: &[u8]) -> &[u8] {
    text(bytes.split_last().map_or(bytes, |(_, front)| front))
}

fn is_ident(ident: Ident) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b' ');
    let text = ident.text();
    text.len() < Ident::SIZE
        && text.iter().all(|&b| allowed(b))
        && ident.0.iter().skip(text.len()).all(|&b| b == 0)
}

fn terminated(service: &[u8]) -> Result<String, Unfit> {
    match service.split_last() {
        // Cleaning keeps "+", so that a leading one is still seen afterwards.
        Some((0, text)) if !text.contains(&0) => Ok(clean(text, b"+")),
        _ => Err(Unfit::Termination),
    }
}

fn clean(bytes: &[u8], also: &[u8]) -> String {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.') || also.contains(&b);
    bytes.iter().map(|&b| if allowed(b) { char::from(b) } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(source: &[u8], target: &[u8], ident: &[u8], service: &[u8]) -> Vec<u8> {
        let mut body = vec![0; TriggerService4::SIZE];
        body[..source.len()].copy_from_slice(source);
        body[64..64 + target.len()].copy_from_slice(target);
        body[128..128 + ident.len()].copy_from_slice(ident);
        body.extend_from_slice(service);
        body
    }

    #[test]
    fn odd_characters_become_underscores() {
        let trigger = Trigger::from_v4(&v4(b"\xff", b"@dispvm:a/b", b"SOCKET7", b"a b+c\n+\0")).unwrap();
        assert_eq!(trigger.requested_source.as_deref(), Some("_"));
        assert_eq!(trigger.target, "@dispvm:a_b");
        assert_eq!(trigger.service, "a_b+c_+");
        assert_eq!(trigger.ident.text(), b"SOCKET7");
    }

    #[test]
    fn services_that_are_none_are_refused() {
        for (service, why) in [
            (&b"a"[..], Unfit::Termination),
            (b"\0", Unfit::Empty),
            (b"\0\0", Unfit::Termination),
            (b"a\0\0", Unfit::Termination),
            (b"\0a\0", Unfit::Termination),
            (b"+\0", Unfit::NoName),
            (b"+a\0", Unfit::NoName),
            (b"a\0a\0", Unfit::Termination),
        ] {
            assert_eq!(Trigger::from_v4(&v4(b"", b"t", b"ab", service)).unwrap_err().1, why, "{service:?}");
        }
    }

    #[test]
    fn idents_that_are_none_are_refused() {
        let full = [b'a'; 32];
        for ident in [&b"\x01\x02"[..], b"a\0b", &full, b"a+"] {
            let (back, why) = Trigger::from_v4(&v4(b"", b"t", ident, b"s\0")).unwrap_err();
            assert_eq!((&back.0[..ident.len()], why), (ident, Unfit::Ident));
        }
        assert!(Trigger::from_v4(&v4(b"", b"t", b"", b"s\0")).is_ok());
        assert!(Trigger::from_v4(&v4(b"", b"t", b"A z-9._", b"s\0")).is_ok());
    }

    #[test]
    fn fixed_fields_end_one_byte_early() {
        let trigger = Trigger::from_v4(&v4(&[b's'; 64], &[b't'; 64], b"i", b"s\0")).unwrap();
        assert_eq!(trigger.target, "t".repeat(63));
        assert_eq!(trigger.requested_source, Some("s".repeat(63)));
    }

    #[test]
    fn the_old_form() {
        let mut body = vec![0; TriggerService2::SIZE];
        for (service, why) in [
            (&b"\0a"[..], Unfit::Empty),
            (b"+", Unfit::NoName),
            (b"+a", Unfit::NoName),
            (b"\0+a", Unfit::Empty),
        ] {
            body[..8].fill(0);
            body[..service.len()].copy_from_slice(service);
            assert_eq!(Trigger::from_v2(&body).unwrap_err().1, why);
        }
        body[..64].fill(b'x');
        body[64..96].fill(b'y');
        let trigger = Trigger::from_v2(&body).unwrap();
        assert_eq!((trigger.service.len(), trigger.target.len()), (63, 31));
        assert_eq!(trigger.requested_source, None);
    }
}
