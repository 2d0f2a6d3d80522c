//! The disposable of one call, whichever way it came; dropped, it is on its way to be destroyed.

use crate::cold::Started;
use crate::entry::Entry;
use crate::queue::{Claimed, Queue};
use crate::resolve::Template;
use admin::Client;
use names::{DomId, Generation, QubeName, QubeRef};
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

/// A disposable that nobody else would destroy.
pub(super) struct Orphan<'a> {
    started: Started,
    admin: &'a Client,
}

impl<'a> Disposable<'a> {
    pub(super) fn fresh(
        started: Started,
        template: &Template,
        queue: Option<&'a Queue>,
        admin: &'a Client,
    ) -> Self {
        let entry = Entry {
            name: started.name.clone(),
            uuid: started.uuid,
            // Only what is woken again needs the domain id; this one runs.
            domid: DomId::DOM0,
            template: template.name.clone(),
            generation: Generation(0),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            claimer: Some(ProcessId::own()),
        };
        match queue.map(|queue| queue.adopt(entry)) {
            Some(Ok(claimed)) => Self::Noted(claimed),
            Some(Err(error)) => {
                log::warn!("cannot note {} in the queue: {error}; destroying it here", started.name);
                Self::Own(Orphan { started, admin })
            }
            None => Self::Own(Orphan { started, admin }),
        }
    }

    pub(super) fn name(&self) -> &QubeName {
        match self {
            Self::Preloaded(claimed) | Self::Noted(claimed) => claimed.name(),
            Self::Own(orphan) => &orphan.started.name,
        }
    }

    pub(super) fn is_preloaded(&self) -> bool {
        matches!(self, Self::Preloaded(_))
    }

    pub(super) fn used(&mut self) {
        if let Self::Preloaded(claimed) | Self::Noted(claimed) = self {
            claimed.used();
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
        if let Err(error) = self.admin.kill(&QubeRef::Uuid(self.started.uuid)) {
            log::warn!("cannot kill {}: {error}; \"qvm-kill {}\" does", self.started.name, self.started.name);
        }
    }
}
