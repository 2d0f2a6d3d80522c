//! What a call is aimed at.

use crate::{NameError, QubeRef, Tag};
use std::fmt;
use std::str::FromStr;

/// The target of a call as its caller wrote it.
///
/// `@dispvm:@tag:TAG` is legal in policy columns only upstream (users.md D2); here it parses, and promise P8 decides.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// `@default` or nothing: the policy chooses.
    Default,
    /// `@adminvm`, `dom0` or the zero UUID.
    AdminVm,
    /// `@dispvm`: a disposable of the caller's default_dispvm.
    Dispvm,
    /// `@dispvm:NAME` or `@dispvm:uuid:UUID`: a disposable of this template.
    DispvmOf(QubeRef),
    /// `@dispvm:@tag:TAG`: a disposable of a template with this tag.
    DispvmTag(Tag),
    /// A qube by name or UUID.
    Qube(QubeRef),
}

impl FromStr for Target {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "" | "@default" => return Ok(Self::Default),
            "@adminvm" | "dom0" | "uuid:00000000-0000-0000-0000-000000000000" => return Ok(Self::AdminVm),
            "@dispvm" => return Ok(Self::Dispvm),
            _ => {}
        }
        if let Some(tag) = text.strip_prefix("@dispvm:@tag:") {
            return tag.parse().map(Self::DispvmTag);
        }
        if let Some(template) = text.strip_prefix("@dispvm:") {
            return match template.parse()? {
                QubeRef::Name(name) if name.is_dom0() => {
                    Err(NameError::new("target", text, "dom0 is no disposable template"))
                }
                template => Ok(Self::DispvmOf(template)),
            };
        }
        if text.starts_with('@') {
            return Err(NameError::new("target", text, "unknown keyword"));
        }
        text.parse().map(Self::Qube)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("@default"),
            Self::AdminVm => f.write_str("@adminvm"),
            Self::Dispvm => f.write_str("@dispvm"),
            Self::DispvmOf(template) => write!(f, "@dispvm:{template}"),
            Self::DispvmTag(tag) => write!(f, "@dispvm:@tag:{tag}"),
            Self::Qube(qube) => qube.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_targets_that_are_none_are_refused() {
        let long = format!("@dispvm:{}", "a".repeat(200));
        for bad in [
            "@dispvm:../x",
            "@dispvm:dom0",
            "@dispvm:",
            "@dispvm:@tag:",
            "@anyvm",
            "@dispvm:@type:x",
            "*",
            &long,
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn text_round_trip() {
        for text in ["@default", "@adminvm", "@dispvm", "@dispvm:dvm", "@dispvm:@tag:x-1", "work"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }
}
