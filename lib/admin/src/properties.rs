//! The text form of a property (spec/admin-api.md 4.2).

use std::fmt;

/// The type of a property's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PropertyType {
    /// The name of a qube, or nothing.
    Vm,
    /// A number.
    Int,
    /// `True` or `False`.
    Bool,
    /// The name of a label.
    Label,
    /// Any text.
    Str,
}

impl PropertyType {
    /// The type's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Label => "label",
            Self::Str => "str",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Vm, Self::Int, Self::Bool, Self::Label, Self::Str]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A property as `property.Get` answers it: `default=True|False type=TYPE VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Whether the value is the default, not one that was set.
    pub is_default: bool,
    /// The type.
    pub kind: PropertyType,
    /// The value; empty for none.
    pub value: String,
}

impl Property {
    /// Reads the text form; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (flag, rest) = text.split_once(' ')?;
        let is_default = match flag {
            "default=True" => true,
            "default=False" => false,
            _ => return None,
        };
        let (kind, value) = rest.split_once(' ')?;
        let kind = PropertyType::parse(kind.strip_prefix("type=")?)?;
        Some(Self { is_default, kind, value: value.to_owned() })
    }

    /// Whether the value is `True`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.value == "True"
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = if self.is_default { "True" } else { "False" };
        write!(f, "default={flag} type={} {}", self.kind.as_str(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::Property;

    #[test]
    fn round_trip() {
        for text in ["default=True type=vm default-dvm", "default=False type=str ", "default=True type=int 0"]
        {
            assert_eq!(Property::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "default=1 type=int 0", "default=True type=x 0", "default=True type=vm"] {
            assert_eq!(Property::parse(bad), None, "{bad}");
        }
    }
}
