//! Names of qubes, tags and users.

use crate::{NameError, Uuid};
use std::fmt;
use std::str::FromStr;

/// The name of a qube, dom0 included: 1 to 31 characters, a letter first, then letters, digits, `_`, `.` and `-`;
/// not `Domain-0`, `none` or `default`; not ending in `-dm` (spec/admin-api.md, section 2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QubeName(String);

impl QubeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the administrative domain.
    #[must_use]
    pub fn dom0() -> Self {
        Self("dom0".to_owned())
    }

    /// Whether this is the administrative domain.
    #[must_use]
    pub fn is_dom0(&self) -> bool {
        self.0 == "dom0"
    }
}

impl FromStr for QubeName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let broken = |rule| Err(NameError::new("qube name", text, rule));
        if text.is_empty() || text.len() > 31 {
            return broken("1 to 31 characters");
        }
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return broken("the first character is a letter");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            return broken("only letters, digits, \"_\", \".\" and \"-\"");
        }
        if matches!(text, "Domain-0" | "none" | "default") || text.ends_with("-dm") {
            return broken("the name is reserved");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for QubeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A qube named by name or by `uuid:UUID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QubeRef {
    /// By its name.
    Name(QubeName),
    /// By its UUID.
    Uuid(Uuid),
}

impl FromStr for QubeRef {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix("uuid:") {
            Some(uuid) => uuid.parse().map(Self::Uuid),
            None => text.parse().map(Self::Name),
        }
    }
}

impl fmt::Display for QubeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Uuid(uuid) => write!(f, "uuid:{uuid}"),
        }
    }
}

/// A tag of a qube: letters, digits, `_` and `-`, at least one (spec/admin-api.md 4.4), at most 255.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) {
            return Err(NameError::new("tag", text, "1 to 255 letters, digits, \"_\" and \"-\""));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A user inside a qube: 1 to 32 letters, digits, `_`, `.` and `-`, not starting with `-`; `DEFAULT` stands for the
/// qube's default user on the client socket (spec/qrexec-wire.md, section 4).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserName(String);

impl UserName {
    /// The user as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if text.is_empty() || text.len() > 32 || text.starts_with('-') || !text.bytes().all(allowed) {
            return Err(NameError::new("user name", text, "1 to 32 letters, digits, \"_\", \".\" and \"-\""));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qube_names_that_are_none_are_refused() {
        let long = "a".repeat(32);
        for bad in
            ["", "../x", "a/b", "1a", "-a", "none", "default", "Domain-0", "x-dm", "a b", "a\n", "ä", &long]
        {
            assert!(bad.parse::<QubeName>().is_err(), "{bad}");
        }
        for good in ["work", "disp1234", "a", "sys-net.1_x", &long[1..]] {
            assert_eq!(good.parse::<QubeName>().unwrap().as_str(), good);
        }
    }
}
