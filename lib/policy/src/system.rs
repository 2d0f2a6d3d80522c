//! The qubes there are, as far as policy is concerned (spec/policy.md 9.1).

use names::{NameError, QubeName, Uuid};
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
    /// Sorted by name.
    qubes: Vec<QubeInfo>,
    /// Sorted by UUID; the places of the qubes in `qubes`.
    uuids: Vec<(Uuid, usize)>,
}

impl SystemInfo {
    /// The system that consists of these qubes.
    ///
    /// # Errors
    /// A name that is none (also as default_dispvm, guivm or relayvm), or two qubes of one name or UUID.
    pub fn new(qubes: impl IntoIterator<Item = QubeInfo>) -> Result<Self, SystemInfoError> {
        let mut qubes: Vec<QubeInfo> = qubes.into_iter().collect();
        qubes.sort_by(|one, other| one.name.cmp(&other.name));
        check_names(&qubes).map_err(SystemInfoError::BadName)?;
        if let Some((twin, _)) =
            qubes.iter().zip(qubes.iter().skip(1)).find(|(one, next)| one.name == next.name)
        {
            return Err(SystemInfoError::SameName(twin.name.clone()));
        }
        let mut uuids: Vec<(Uuid, usize)> =
            qubes.iter().enumerate().filter_map(|(place, qube)| Some((qube.uuid?, place))).collect();
        uuids.sort_unstable();
        if let Some((one, other)) = uuids.iter().zip(uuids.iter().skip(1)).find(|(one, next)| one.0 == next.0)
        {
            let name = |place: usize| qubes.get(place).map_or_else(String::new, |qube| qube.name.clone());
            return Err(SystemInfoError::SameUuid(name(one.1), name(other.1)));
        }
        Ok(Self { qubes, uuids })
    }

    /// The qube of this name or, with the prefix `uuid:`, of this UUID (lower case, as qubesd writes it).
    #[must_use]
    pub fn get(&self, name_or_uuid: &str) -> Option<&QubeInfo> {
        let place = match name_or_uuid.strip_prefix("uuid:") {
            Some(uuid) => {
                let uuid = uuid.parse::<Uuid>().ok()?;
                self.uuids.get(self.uuids.binary_search_by_key(&uuid, |(known, _)| *known).ok()?)?.1
            }
            None => self.qubes.binary_search_by(|qube| qube.name.as_str().cmp(name_or_uuid)).ok()?,
        };
        self.qubes.get(place)
    }

    /// All qubes, sorted by name.
    pub fn qubes(&self) -> impl Iterator<Item = &QubeInfo> {
        self.qubes.iter()
    }
}

/// Most qubes name the same few others, so each is compared with the one before it first.
fn check_names(qubes: &[QubeInfo]) -> Result<(), NameError> {
    let mut checked: [Option<&str>; 3] = [None; 3];
    for qube in qubes {
        qube.name.parse::<QubeName>()?;
        let references = [&qube.default_dispvm, &qube.guivm, &qube.relayvm];
        for (reference, checked) in references.into_iter().zip(&mut checked) {
            if reference.is_some() && reference.as_deref() != *checked {
                *checked = reference.as_deref();
                checked.unwrap_or_default().parse::<QubeName>()?;
            }
        }
    }
    Ok(())
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
