//! The disposable of one call, whichever way it came; dropped, it is on its way to be destroyed.

use crate::cold::{self, Created};
use crate::entry::Entry;
use crate::error::CallError;
use crate::queue::{Claimed, Queue, Wanted};
use crate::resolve::Template;
use admin::Client;
use names::{DomId, Generation, QubeName, QubeRef, Uuid};
use os::process::ProcessId;
use std::time::{SystemTime, UNIX_EPOCH};

/// Owned by this call alone (promise P1).
pub(super) enum Disposable<'a> {
    /// Taken from the queue; the keeper destroys it.
    Preloaded(Claimed<'a>),
    /// Started for this call and noted in the queue; the keeper destroys it, even should this process die.
    Noted(Claimed<'a>),
    /// Started for this call while no keeper lives; destroyed here.
    Own(Orphan<'a>),
}

/// A disposable that nobody else would destroy now; the next keeper does, should this process die and it be noted.
pub(super) struct Orphan<'a> {
    created: Created,
    note: Option<Claimed<'a>>,
    admin: &'a Client,
}

/// Where a call finds disposables, and notes its own.
pub(super) struct Desk {
    /// The queue, if the keeper has made one.
    pub(super) queue: Option<Queue>,
    /// Whether a keeper lives and hears of every change: without one nothing is claimed (promise P11).
    pub(super) trusted: bool,
}

impl Desk {
    /// The queue to claim from.
    pub(super) fn trusted(&self) -> Option<&Queue> {
        self.queue.as_ref().filter(|_| self.trusted)
    }

    /// Creates a disposable; not started. It is noted that one is wanted before it exists, and which one it is as soon as it
    /// does: whoever dies anywhere leaves what the keeper needs to find it (promise P5).
    pub(super) fn create<'a>(
        &'a self,
        template: &Template,
        admin: &'a Client,
    ) -> Result<(Disposable<'a>, Uuid), CallError> {
        let wanted = self.queue.as_ref().and_then(|queue| {
            let wanted = queue.want(ProcessId::own(), os::monotonic_ns());
            wanted.inspect_err(|error| log::warn!("cannot note what is wanted in the queue: {error}")).ok()
        });
        match cold::create(admin, template) {
            Ok(created) => {
                let uuid = created.uuid;
                Ok((self.own(created, wanted, template, admin), uuid))
            }
            Err(failed) => {
                match wanted {
                    Some(wanted) if failed.for_certain => wanted.forget(),
                    // Dropped, it is for the keeper to look what became of it.
                    other => drop(other),
                }
                Err(failed.error)
            }
        }
    }

    fn own<'a>(
        &self,
        created: Created,
        wanted: Option<Wanted<'a>>,
        template: &Template,
        admin: &'a Client,
    ) -> Disposable<'a> {
        let entry = Entry {
            name: created.name.clone(),
            uuid: created.uuid,
            // Only what is woken again needs the domain id; this one is never paused.
            domid: DomId::DOM0,
            template: template.name.clone(),
            generation: Generation(0),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            claimer: Some(ProcessId::own()),
        };
        match wanted.map(|wanted| wanted.became(entry)) {
            Some(Ok(claimed)) if self.trusted => Disposable::Noted(claimed),
            Some(Ok(claimed)) => Disposable::Own(Orphan { created, note: Some(claimed), admin }),
            Some(Err(error)) => {
                log::warn!("cannot note {} in the queue: {error}; destroying it here", created.name);
                Disposable::Own(Orphan { created, note: None, admin })
            }
            None => Disposable::Own(Orphan { created, note: None, admin }),
        }
    }
}

impl Disposable<'_> {
    pub(super) fn name(&self) -> &QubeName {
        match self {
            Self::Preloaded(claimed) | Self::Noted(claimed) => claimed.name(),
            Self::Own(orphan) => &orphan.created.name,
        }
    }

    pub(super) fn is_preloaded(&self) -> bool {
        matches!(self, Self::Preloaded(_))
    }

    pub(super) fn used(&mut self) {
        match self {
            Self::Preloaded(claimed) | Self::Noted(claimed) => claimed.used(),
            Self::Own(orphan) => orphan.note.iter_mut().for_each(Claimed::used),
        }
    }

    pub(super) fn done(self) {
        if let Self::Preloaded(claimed) | Self::Noted(claimed) = self {
            claimed.done();
        }
    }
}

impl Drop for Orphan<'_> {
    fn drop(&mut self) {
        let name = &self.created.name;
        match cold::end(self.admin, &QubeRef::Uuid(self.created.uuid)) {
            Ok(()) => self.note.take().into_iter().for_each(Claimed::ended),
            Err(error) => log::warn!("cannot kill {name}: {error}; \"qvm-kill {name}\" does"),
        }
    }
}
