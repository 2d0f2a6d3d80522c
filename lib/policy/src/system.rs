//! The qubes there are, as far as policy is concerned (spec/policy.md 9.1).

use names::{NameError, QubeName, Uuid};
use std::collections::BTreeMap;
use std::fmt;

/// One qube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QubeInfo {
    /// Its name.
    pub name: String,
    /// Its class, the key `type`: AdminVM, AppVM, DispVM, TemplateVM, StandaloneVM or RemoteVM.
    pub class: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether disposables can be made of it.
    pub template_for_dispvms: bool,
    /// The template of the disposables it asks for.
    pub default_dispvm: Option<String>,
    /// Running, Halted, Paused, Suspended, Transient, Halting, Dying, Crashed or NA. May be stale: qubesd does not
    /// refresh it on pause and unpause.
    pub power_state: String,
    /// Its identity; `None` where qubesd does not tell.
    pub uuid: Option<Uuid>,
    /// The feature `internal`; any non-empty text hides the qube from users.
    pub internal: Option<String>,
    /// The icon of its label.
    pub icon: String,
    /// The color of its label, `0x` and six hexadecimal digits.
    pub label: String,
    /// The qube that shows its windows and asks its user.
    pub guivm: Option<String>,
    /// For a RemoteVM, the qube that relays calls.
    pub relayvm: Option<String>,
    /// For a RemoteVM, the service that carries calls.
    pub transport_rpc: Option<String>,
}

impl QubeInfo {
    /// Whether it has this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }

    /// Whether it is hidden from users.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.internal.as_ref().is_some_and(|value| !value.is_empty())
    }
}

/// All qubes, by name and by UUID.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemInfo {
    by_name: BTreeMap<String, QubeInfo>,
    names: BTreeMap<Uuid, String>,
}

impl SystemInfo {
    /// The system that consists of these qubes.
    ///
    /// # Errors
    /// A name that is none (also as default_dispvm, guivm or relayvm), or two qubes of one name or UUID.
    pub fn new(qubes: impl IntoIterator<Item = QubeInfo>) -> Result<Self, SystemInfoError> {
        let mut system = Self::default();
        for qube in qubes {
            let references = [&qube.default_dispvm, &qube.guivm, &qube.relayvm];
            for name in references.into_iter().flatten().chain([&qube.name]) {
                name.parse::<QubeName>().map_err(SystemInfoError::BadName)?;
            }
            if let Some(uuid) = qube.uuid {
                if let Some(other) = system.names.insert(uuid, qube.name.clone()) {
                    return Err(SystemInfoError::SameUuid(other, qube.name));
                }
            }
            if let Some(other) = system.by_name.insert(qube.name.clone(), qube) {
                return Err(SystemInfoError::SameName(other.name));
            }
        }
        Ok(system)
    }

    /// The qube of this name or, with the prefix `uuid:`, of this UUID (lower case, as qubesd writes it).
    #[must_use]
    pub fn get(&self, name_or_uuid: &str) -> Option<&QubeInfo> {
        match name_or_uuid.strip_prefix("uuid:") {
            Some(uuid) => self.by_name.get(self.names.get(&uuid.parse::<Uuid>().ok()?)?),
            None => self.by_name.get(name_or_uuid),
        }
    }

    /// All qubes, sorted by name.
    pub fn qubes(&self) -> impl Iterator<Item = &QubeInfo> {
        self.by_name.values()
    }
}

/// Why the answer of internal.GetSystemInfo cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemInfoError {
    /// More than 16 MiB.
    TooLarge,
    /// No JSON; with the parser's reason.
    NotJson(String),
    /// No object with an object `domains` of objects.
    NoDomains,
    /// A key that is missing or has the wrong type.
    BadKey {
        /// The qube.
        qube: String,
        /// The key.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A text that should be the name of a qube.
    BadName(NameError),
    /// Two qubes of one name.
    SameName(String),
    /// Two qubes of one UUID.
    SameUuid(String, String),
}

impl fmt::Display for SystemInfoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("system information from qubesd: ")?;
        match self {
            Self::TooLarge => f.write_str("more than 16 MiB"),
            Self::NotJson(reason) => write!(f, "no JSON: {reason}"),
            Self::NoDomains => f.write_str("no object \"domains\" of objects"),
            Self::BadKey { qube, key, expected } => {
                write!(f, "{key} of {} is not {expected}", names::printable(qube.as_bytes()))
            }
            Self::BadName(error) => error.fmt(f),
            Self::SameName(name) => write!(f, "{name} appears twice"),
            Self::SameUuid(one, other) => write!(f, "{one} and {other} have the same UUID"),
        }
    }
}

impl std::error::Error for SystemInfoError {}
