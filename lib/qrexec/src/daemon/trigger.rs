//! The agent's wish for a call, cleaned (spec/qrexec-wire.md 1.2 and 2.3).

use crate::wire;
use crate::wire::layout::text;
use qubes_qrexec_sys::{Ident, TriggerService2};
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
    /// Reads TRIGGER_SERVICE.
    ///
    /// # Errors
    /// The request's id as it came, and why the request is refused.
    pub fn from_v2(untrusted: &TriggerService2) -> Result<Self, (Ident, Unfit)> {
        // Unlike the later forms: the service is cleaned first and may be followed by anything after its NUL.
        let service = clean(field(&untrusted.service), b"+");
        Self::checked(None, &untrusted.target, untrusted.ident, Ok(service))
    }

    /// Reads TRIGGER_SERVICE3.
    ///
    /// # Errors
    /// The request's id as it came, and why the request is refused.
    pub fn from_v3(untrusted: &wire::Trigger) -> Result<Self, (Ident, Unfit)> {
        Self::checked(None, &untrusted.target, untrusted.ident, terminated(&untrusted.service))
    }

    /// Reads TRIGGER_SERVICE4.
    ///
    /// # Errors
    /// The request's id as it came, and why the request is refused.
    pub fn from_v4(untrusted: &wire::Trigger) -> Result<Self, (Ident, Unfit)> {
        let service = terminated(&untrusted.service);
        Self::checked(Some(&untrusted.source), &untrusted.target, untrusted.ident, service)
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

    fn v4(source: &[u8], target: &[u8], ident: &[u8], service: &[u8]) -> wire::Trigger {
        let mut trigger = wire::Trigger::new(b"", b"", Ident([0; 32]), b"");
        trigger.source[..source.len()].copy_from_slice(source);
        trigger.target[..target.len()].copy_from_slice(target);
        trigger.ident.0[..ident.len()].copy_from_slice(ident);
        trigger.service = service.to_vec();
        trigger
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
        let mut old = TriggerService2 { service: [0; 64], target: [b'y'; 32], ident: Ident([0; 32]) };
        for (service, why) in [
            (&b"\0a"[..], Unfit::Empty),
            (b"+", Unfit::NoName),
            (b"+a", Unfit::NoName),
            (b"\0+a", Unfit::Empty),
        ] {
            old.service[..8].fill(0);
            old.service[..service.len()].copy_from_slice(service);
            assert_eq!(Trigger::from_v2(&old).unwrap_err().1, why);
        }
        old.service.fill(b'x');
        let trigger = Trigger::from_v2(&old).unwrap();
        assert_eq!((trigger.service.len(), trigger.target.len()), (63, 31));
        assert_eq!(trigger.requested_source, None);
    }
}
