//! Numbers that identify: domain ids, UUIDs, template generations.

use crate::NameError;
use std::fmt;
use std::str::FromStr;

/// A Xen domain id. Zero is dom0. Ids from 0x7FF0 up are reserved by Xen (`DOMID_FIRST_RESERVED`, xen/include/public/xen.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomId(u16);

impl DomId {
    /// The administrative domain.
    pub const DOM0: Self = Self(0);
    /// First id that no domain can have.
    pub const FIRST_RESERVED: u16 = 0x7FF0;

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u32> for DomId {
    type Error = NameError;
    fn try_from(value: u32) -> Result<Self, NameError> {
        match u16::try_from(value) {
            Ok(id) if id < Self::FIRST_RESERVED => Ok(Self(id)),
            _ => Err(NameError::new("domain id", &value.to_string(), "domain ids are 0 to 32751")),
        }
    }
}

impl FromStr for DomId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let broken = || NameError::new("domain id", text, "a decimal number from 0 to 32751");
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(broken());
        }
        Self::try_from(text.parse::<u32>().map_err(|_| broken())?).map_err(|_| broken())
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a qube for its whole life; Xen carries it as the domain handle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// The UUID of dom0 (spec/policy.md, section 3).
    pub const DOM0: Self = Self([0; 16]);

    /// A UUID from its sixteen bytes in the order of their text form.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A version 4 (random) UUID from sixteen random bytes (RFC 9562, 5.4).
    #[must_use]
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The sixteen bytes in the order of their text form.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for Uuid {
    type Err = NameError;
    /// Accepts the 36 character form with lower case digits only, as qubesd does (spec/admin-api.md, section 2).
    fn from_str(text: &str) -> Result<Self, NameError> {
        let broken = || {
            NameError::new(
                "UUID",
                text,
                "36 characters, lower case hexadecimal digits in groups of 8-4-4-4-12",
            )
        };
        let raw = text.as_bytes();
        if raw.len() != 36 {
            return Err(broken());
        }
        let mut bytes = [0u8; 16];
        let mut digits = 0usize;
        for (index, &byte) in raw.iter().enumerate() {
            if matches!(index, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return Err(broken());
                }
                continue;
            }
            let value = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return Err(broken()),
            };
            let slot = bytes.get_mut(digits / 2).ok_or_else(broken)?;
            *slot = *slot << 4 | value;
            digits += 1;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uuid({self})")
    }
}

/// How often a disposable template has changed in a way that makes older disposables stale (design, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Generation {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self).map_err(|_| NameError::new("generation", text, "a decimal number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_round_trip() {
        let text = "01234567-89ab-4def-8123-456789abcdef";
        assert_eq!(text.parse::<Uuid>().unwrap().to_string(), text);
        for bad in
            ["", "01234567-89AB-4def-8123-456789abcdef", "0123456789ab-4def-8123-456789abcdef-", &text[1..]]
        {
            assert!(bad.parse::<Uuid>().is_err(), "{bad}");
        }
    }

    #[test]
    fn domid_limits() {
        assert_eq!("32751".parse::<DomId>().unwrap().get(), 32751);
        for bad in ["", "32752", "-1", "+1", " 1", "1 ", "99999999999"] {
            assert!(bad.parse::<DomId>().is_err(), "{bad}");
        }
    }
}
