//! New qubes, and qubes that are removed.

use super::directory;
use crate::dom0::{Dom0, monotonic_seconds, random_dispid, random_uuid};
use crate::store::{Fresh, NewQube, Refusal};
use names::{QubeName, Tag, Uuid};
use std::sync::Arc;

impl Dom0 {
    /// A new unnamed disposable; not started.
    ///
    /// # Errors
    /// The template is none for disposables, or no number is free.
    pub(crate) fn create_disposable(
        &self,
        template: &QubeName,
        tags: &[Tag],
    ) -> Result<(QubeName, Uuid), Refusal> {
        let uuid = random_uuid();
        let name = self.change(|store| {
            let fresh = Fresh { uuid, random: random_dispid, now: monotonic_seconds() };
            let name = store.create_disposable(template, fresh)?;
            tags.iter().try_for_each(|tag| store.add_tag(&QubeName::dom0(), &name, tag))?;
            Ok(name)
        })?;
        Ok((name, uuid))
    }

    /// A new qube with a directory of its own.
    ///
    /// # Errors
    /// The name is taken, the template is not fit, or the directory cannot be made, or is there: a removal was cut short.
    pub(crate) fn create_qube(&self, new: &NewQube, tags: &[Tag]) -> Result<(), Refusal> {
        let _held = self.hold_directory(&new.name);
        self.change(|store| {
            let fresh = Fresh { uuid: random_uuid(), random: random_dispid, now: monotonic_seconds() };
            store.create_qube(new, fresh)?;
            tags.iter().try_for_each(|tag| store.add_tag(&QubeName::dom0(), &new.name, tag))
        })?;
        if let Err(error) = directory::make(self, &new.name) {
            self.change(|store| {
                store.remove(&new.name, monotonic_seconds());
                Ok(())
            })?;
            return Err(Refusal::general(format!("cannot make {}: {error}", new.name)));
        }
        Ok(())
    }

    /// Removes a halted qube and all that it kept. Preloaded disposables of it go first.
    ///
    /// # Errors
    /// It runs, or is in use.
    pub(crate) fn remove_qube(self: &Arc<Self>, name: &QubeName) -> Result<(), Refusal> {
        self.read(|store| store.check_remove(name))?;
        let preloaded: Vec<QubeName> = self.read(|store| {
            let of_it = store.iter().filter(|qube| qube.template().as_ref() == Some(name));
            of_it.filter(|qube| store.is_preload(qube)).map(|qube| qube.name.clone()).collect()
        });
        for disposable in preloaded {
            log::info!("Removing preloaded disposable(s) before removing itself from disk:: {disposable}");
            if let Err(refusal) = self.kill(&disposable) {
                log::debug!("{disposable}: {refusal}");
            }
        }
        let _held = self.hold_directory(name);
        self.change(|store| {
            store.check_remove(name)?;
            store.remove(name, monotonic_seconds());
            Ok(())
        })?;
        directory::discard(self, name);
        Ok(())
    }
}
