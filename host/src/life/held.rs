//! One at a time makes, moves or removes what a name has on disk; no qube of the name starts meanwhile.
//!
//! A qube goes first from the store, then its directory out of the way. Between the two its name is free: a new qube of the
//! name would make its own directory there, and lose it.

use crate::dom0::Dom0;
use names::QubeName;
use std::time::Duration;

/// After this wait it is said who is waited for, and waited on.
const LONG: Duration = Duration::from_secs(120);

/// The hold on a name's directory; released when dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    dom0: &'a Dom0,
    name: QubeName,
}

impl Dom0 {
    /// Waits until nobody else holds the directory of this name, then holds it.
    pub(super) fn hold_directory(&self, name: &QubeName) -> Held<'_> {
        let hold = || self.wait_for(LONG, |state| state.lives.held.insert(name.clone()).then_some(()));
        while hold().is_none() {
            log::warn!("the directory of {name} has been in use for {LONG:?}");
        }
        Held { dom0: self, name: name.clone() }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.dom0.with_state(|state| state.lives.held.remove(&self.name));
    }
}
