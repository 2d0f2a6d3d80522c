//! Which qubes exist and what is known of them. Pure: no file, clock or random source; what happened is left in
//! [`Store::take_events`] for whoever publishes it.

mod create;
mod defaults;
mod features;
mod file;
mod info;
pub(crate) mod labels;
mod lists;
mod properties;
mod qube;
mod refusal;
mod runtime;
mod set;
mod system;
mod tags;
#[cfg(test)]
mod tests;
mod volumes;

pub use create::{Fresh, NewQube};
pub(crate) use features::no_feature;
pub use file::FileError;
pub use info::system_info;
pub use properties::{PropertySpec, property_specs};
pub use qube::Qube;
pub use refusal::Refusal;
pub use runtime::Runtime;
pub(crate) use volumes::VOLUMES;

use crate::dispid::RecentIds;
use admin::protocol::Event;
use names::{QubeName, QubeRef, Uuid};
use std::collections::BTreeMap;

/// All qubes, dom0 included, and the properties of the system.
#[derive(Debug)]
pub struct Store {
    qubes: BTreeMap<QubeName, Qube>,
    system: BTreeMap<String, String>,
    recent: RecentIds,
    events: Vec<Event>,
    unsaved: bool,
    info_revision: u64,
}

impl Store {
    /// A qube by name.
    #[must_use]
    pub fn get(&self, name: &QubeName) -> Option<&Qube> {
        self.qubes.get(name)
    }

    /// A qube by name or UUID.
    ///
    /// # Errors
    /// There is none: `QubesVMNotFoundError`.
    pub fn find(&self, reference: &QubeRef) -> Result<&Qube, Refusal> {
        let found = match reference {
            QubeRef::Name(name) => self.qubes.get(name),
            QubeRef::Uuid(uuid) => self.qubes.values().find(|qube| qube.uuid == *uuid),
        };
        found.ok_or_else(|| Refusal::no_such_qube(reference))
    }

    /// A qube that is there because its name was looked up before; it may have gone since.
    ///
    /// # Errors
    /// It is gone: `QubesVMNotFoundError`.
    pub fn qube(&self, name: &QubeName) -> Result<&Qube, Refusal> {
        self.qubes.get(name).ok_or_else(|| Refusal::no_such_qube(name))
    }

    fn qube_mut(&mut self, name: &QubeName) -> Result<&mut Qube, Refusal> {
        self.qubes.get_mut(name).ok_or_else(|| Refusal::no_such_qube(name))
    }

    /// All qubes in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Qube> {
        self.qubes.values()
    }

    /// What happened since the last time, in order.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Whether something changed that belongs into the file; asked once, answered once.
    pub fn take_unsaved(&mut self) -> bool {
        std::mem::take(&mut self.unsaved)
    }

    /// Grows with each change that [`system_info`] shows.
    #[must_use]
    pub fn info_revision(&self) -> u64 {
        self.info_revision
    }

    pub(crate) fn fire(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Notes a change of a qube that the file holds, unless the qube itself is not in the file.
    fn changed(&mut self, name: &QubeName) {
        self.info_revision += 1;
        if self.qubes.get(name).is_some_and(Qube::is_saved) {
            self.unsaved = true;
        }
    }

    fn uuid_is_free(&self, uuid: Uuid) -> bool {
        self.qubes.values().all(|qube| qube.uuid != uuid)
    }
}
