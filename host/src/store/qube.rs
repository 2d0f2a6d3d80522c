//! One qube.

use super::Runtime;
use admin::QubeClass;
use names::{QubeName, QubeRef, Tag, Uuid};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a qube.
#[derive(Debug, Clone)]
pub struct Qube {
    /// Its name.
    pub name: QubeName,
    /// Its identity for its whole life.
    pub uuid: Uuid,
    /// Its class.
    pub class: QubeClass,
    /// Properties that were set, as text in their canonical form; an empty text of a `vm` property means none.
    pub(super) properties: BTreeMap<String, String>,
    /// Features.
    pub(super) features: BTreeMap<String, String>,
    /// Tags.
    pub(super) tags: BTreeSet<Tag>,
    /// What the qube does right now.
    pub runtime: Runtime,
    /// Grows with each end of the qube: what it had changed in its home is there for disposables from then on.
    pub(super) home_revision: u64,
    /// Of a disposable: the revision of its template's home that its own is a copy of.
    pub(super) copy_of: Option<u64>,
}

impl Qube {
    pub(super) fn new(name: QubeName, uuid: Uuid, class: QubeClass) -> Self {
        let runtime = if class == QubeClass::AdminVM { Runtime::dom0() } else { Runtime::halted() };
        Self {
            name,
            uuid,
            class,
            properties: BTreeMap::new(),
            features: BTreeMap::new(),
            tags: BTreeSet::new(),
            runtime,
            home_revision: 0,
            copy_of: None,
        }
    }

    /// The qube as others may refer to it for as long as it exists.
    #[must_use]
    pub fn reference(&self) -> QubeRef {
        QubeRef::Uuid(self.uuid)
    }

    /// The template, for classes that have one.
    #[must_use]
    pub fn template(&self) -> Option<QubeName> {
        self.properties.get("template")?.parse().ok()
    }

    /// A feature of the qube itself.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<&str> {
        self.features.get(name).map(String::as_str)
    }

    /// All features.
    pub fn features(&self) -> impl Iterator<Item = (&str, &str)> {
        self.features.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All tags, sorted.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.iter()
    }

    /// Whether the qube has this tag.
    #[must_use]
    pub fn has_tag(&self, tag: &Tag) -> bool {
        self.tags.contains(tag)
    }

    /// Whether others may be made from it.
    #[must_use]
    pub fn is_template_for_dispvms(&self) -> bool {
        self.is_true("template_for_dispvms")
    }

    /// Whether the qube is removed as soon as it ends.
    #[must_use]
    pub fn is_auto_cleanup(&self) -> bool {
        self.class == QubeClass::DispVM && self.is_true("auto_cleanup")
    }

    /// Whether the qube is in the file. One that ends with the host is not.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        !self.is_auto_cleanup()
    }

    /// The number of a disposable.
    #[must_use]
    pub fn dispid(&self) -> Option<u16> {
        self.properties.get("dispid")?.parse().ok()
    }

    fn is_true(&self, property: &str) -> bool {
        self.properties.get(property).is_some_and(|value| value == "True")
    }
}
