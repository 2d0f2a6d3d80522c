//! The words of the SOURCE and TARGET columns and of redirects (spec/policy.md, section 3).

use std::fmt;

/// One word that stands for qubes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A name, or `uuid:` and a UUID. Not checked when a policy is loaded.
    Qube(String),
    /// `*`: everything, dom0 included.
    Any,
    /// `@anyvm`: everything but dom0.
    AnyVm,
    /// `@adminvm`: dom0.
    AdminVm,
    /// `@default`: the caller named no target.
    Default,
    /// `@type:T`: qubes of this class.
    Type(String),
    /// `@tag:T`: qubes with this tag.
    Tag(String),
    /// `@dispvm`: a disposable of the caller's own default.
    Dispvm,
    /// `@dispvm:NAME` or `@dispvm:uuid:UUID`: a disposable of this template.
    DispvmOf(String),
    /// `@dispvm:@tag:T`: a disposable of a template with this tag.
    DispvmTag(String),
}

/// Where a word stands; not every token is legal everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Source,
    Target,
    Redirect,
}

/// Why a word is no token of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenError {
    /// Nothing where a name should be.
    Empty,
    /// No token, or one that this column does not allow.
    Illegal,
}

impl Token {
    pub(crate) fn parse(word: &str, column: Column) -> Result<Self, TokenError> {
        if word.is_empty() {
            return Err(TokenError::Empty);
        }
        let token = match word {
            "*" => Self::Any,
            "@anyvm" => Self::AnyVm,
            "@adminvm" => Self::AdminVm,
            "@default" => Self::Default,
            "@dispvm" => Self::Dispvm,
            _ if word.starts_with('@') => Self::parse_prefixed(word)?,
            _ => Self::Qube(word.to_owned()),
        };
        match &token {
            _ if !token.is_legal_in(column) => Err(TokenError::Illegal),
            Self::Type(name) | Self::Tag(name) | Self::DispvmOf(name) | Self::DispvmTag(name)
                if name.is_empty() =>
            {
                Err(TokenError::Empty)
            }
            _ => Ok(token),
        }
    }

    fn parse_prefixed(word: &str) -> Result<Self, TokenError> {
        type Make = fn(String) -> Token;
        let prefixes: [(&str, Make); 4] = [
            ("@dispvm:@tag:", Self::DispvmTag),
            ("@dispvm:", Self::DispvmOf),
            ("@type:", Self::Type),
            ("@tag:", Self::Tag),
        ];
        for (prefix, make) in prefixes {
            if let Some(value) = word.strip_prefix(prefix) {
                if value.starts_with('@') {
                    return Err(TokenError::Illegal);
                }
                return Ok(make(value.to_owned()));
            }
        }
        Err(TokenError::Illegal)
    }

    fn is_legal_in(&self, column: Column) -> bool {
        match self {
            Self::Qube(_) | Self::AdminVm | Self::DispvmOf(_) => true,
            Self::Any | Self::AnyVm | Self::Type(_) | Self::Tag(_) | Self::DispvmTag(_) => {
                column != Column::Redirect
            }
            Self::Dispvm => column != Column::Source,
            Self::Default => column == Column::Target,
        }
    }

    /// Whether this is one of the three names of dom0.
    #[must_use]
    pub fn is_dom0(&self) -> bool {
        match self {
            Self::AdminVm => true,
            Self::Qube(text) => is_dom0(text),
            _ => false,
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Qube(text) => f.write_str(text),
            Self::Any => f.write_str("*"),
            Self::AnyVm => f.write_str("@anyvm"),
            Self::AdminVm => f.write_str("@adminvm"),
            Self::Default => f.write_str("@default"),
            Self::Type(class) => write!(f, "@type:{class}"),
            Self::Tag(tag) => write!(f, "@tag:{tag}"),
            Self::Dispvm => f.write_str("@dispvm"),
            Self::DispvmOf(base) => write!(f, "@dispvm:{base}"),
            Self::DispvmTag(tag) => write!(f, "@dispvm:@tag:{tag}"),
        }
    }
}

/// Whether a text is one of the three names of dom0 (spec/policy.md, section 3).
pub(crate) fn is_dom0(text: &str) -> bool {
    matches!(text, "dom0" | "@adminvm" | "uuid:00000000-0000-0000-0000-000000000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_allow_what_the_table_says() {
        let table = [
            ("vault", [true, true, true]),
            ("uuid:x", [true, true, true]),
            ("$anyvm", [true, true, true]),
            ("*", [true, true, false]),
            ("@adminvm", [true, true, true]),
            ("@anyvm", [true, true, false]),
            ("@default", [false, true, false]),
            ("@type:AppVM", [true, true, false]),
            ("@tag:x", [true, true, false]),
            ("@dispvm", [false, true, true]),
            ("@dispvm:x", [true, true, true]),
            ("@dispvm:uuid:x", [true, true, true]),
            ("@dispvm:@tag:x", [true, true, false]),
            ("@dispvm:@type:x", [false, false, false]),
            ("@dispvm:", [false, false, false]),
            ("@dispvm:@tag:", [false, false, false]),
            ("@type:@tag:x", [false, false, false]),
            ("@dispvmx", [false, false, false]),
            ("", [false, false, false]),
        ];
        for (word, expected) in table {
            let columns = [Column::Source, Column::Target, Column::Redirect];
            assert_eq!(columns.map(|column| Token::parse(word, column).is_ok()), expected, "{word}");
            if let Ok(token) = Token::parse(word, Column::Target) {
                assert_eq!(token.to_string(), word);
            }
        }
    }
}
