//! The lines of `admin.vm.List` (spec/admin-api.md 4.1).

use names::{QubeName, Uuid};
use std::fmt;
use std::str::FromStr;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($word:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum $name { $($word),* }

        impl $name {
            /// The word as qubesd writes it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word)),* }
            }
        }

        impl FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $(stringify!($word) => Ok(Self::$word),)* _ => Err(()) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }
    };
}

words! {
    /// What kind of qube it is.
    QubeClass { AdminVM, TemplateVM, StandaloneVM, AppVM, DispVM, RemoteVM }
}

words! {
    /// Whether a qube runs (spec/admin-api.md 4.1). `Transient` is active, but not usable yet.
    PowerState { Halted, Transient, Running, Paused, Suspended, Halting, Dying, Crashed, NA }
}

/// One qube in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QubeLine {
    /// Its name.
    pub name: QubeName,
    /// Its class.
    pub class: QubeClass,
    /// Its state at the time of the answer.
    pub state: PowerState,
    /// Its identity.
    pub uuid: Uuid,
}

impl QubeLine {
    /// Reads `NAME class=CLASS state=STATE uuid=UUID`; `None` for anything else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let name = words.next()?.parse().ok()?;
        let (mut class, mut state, mut uuid) = (None, None, None);
        for word in words {
            match word.split_once('=')? {
                ("class", value) => class = value.parse().ok(),
                ("state", value) => state = value.parse().ok(),
                ("uuid", value) => uuid = value.parse().ok(),
                _ => {}
            }
        }
        Some(Self { name, class: class?, state: state?, uuid: uuid? })
    }
}

impl fmt::Display for QubeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} class={} state={} uuid={}", self.name, self.class, self.state, self.uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::QubeLine;

    #[test]
    fn round_trip() {
        let line = "work class=AppVM state=Running uuid=01234567-89ab-4def-8123-456789abcdef";
        assert_eq!(QubeLine::parse(line).unwrap().to_string(), line);
        for bad in ["", "work", "work class=AppVM", "../x class=AppVM state=Running uuid=1", "work x"] {
            assert_eq!(QubeLine::parse(bad), None, "{bad}");
        }
    }
}
