//! The lives of qubes: from order to running, from running to gone.

mod create;
mod daemon;
mod directory;
mod domain;
mod end;
mod held;
mod pause;
mod start;

pub(crate) use daemon::{environment, open_log};
pub(crate) use directory::{Removals, leftovers, remove_tree};
pub(crate) use domain::{sweep, xen_domains};

use crate::process::Process;
use hypervisor::local::Isolation;
use names::{DomId, QubeName};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ChildStdin;
use std::sync::Arc;

/// What belongs to the qubes that have a domain.
#[derive(Debug)]
pub(crate) struct Lives {
    last_domid: u16,
    machines: BTreeMap<QubeName, Machine>,
    /// Whose directories are being made or moved out of the way: none of the name starts until that is done.
    held: BTreeSet<QubeName>,
    /// No more starts.
    pub(crate) stopping: bool,
    /// Whether it was said that nothing keeps qubes apart.
    has_warned: bool,
}

/// A domain and the daemon that serves it.
#[derive(Debug)]
struct Machine {
    domid: DomId,
    daemon: Option<Arc<Process>>,
    /// How it is kept apart; known once it runs.
    isolation: Option<Isolation>,
    /// Cut, it ends the domain, even one that the hypervisor's own records know no more. None on Xen.
    lifeline: Option<ChildStdin>,
}

impl Machine {
    const fn new(domid: DomId) -> Self {
        Self { domid, daemon: None, isolation: None, lifeline: None }
    }
}

impl Lives {
    pub(crate) fn new() -> Self {
        Self {
            last_domid: 0,
            machines: BTreeMap::new(),
            held: BTreeSet::new(),
            stopping: false,
            has_warned: false,
        }
    }

    /// The next number: they increase, and begin anew only after all 32,750 were used, with the lowest that is free.
    fn next_domid(&mut self) -> Option<DomId> {
        for _ in 0..DomId::FIRST_RESERVED {
            self.last_domid = self.last_domid % (DomId::FIRST_RESERVED - 1) + 1;
            let domid = DomId::try_from(u32::from(self.last_domid)).ok()?;
            if self.machines.values().all(|machine| machine.domid != domid) {
                return Some(domid);
            }
        }
        None
    }

    fn domid(&self, name: &QubeName) -> Option<DomId> {
        self.machines.get(name).map(|machine| machine.domid)
    }

    /// Keeps what a domain hangs on; `None` cuts it. What comes too late is dropped, and its domain ends.
    fn hold(&mut self, name: &QubeName, domid: DomId, lifeline: Option<ChildStdin>) {
        if let Some(machine) = self.machine(name, domid) {
            machine.lifeline = lifeline;
        }
    }

    /// What belongs to a qube, as long as its domain is still this one.
    fn machine(&mut self, name: &QubeName, domid: DomId) -> Option<&mut Machine> {
        self.machines.get_mut(name).filter(|machine| machine.domid == domid)
    }

    /// A domain got another number than was planned.
    fn renumber(&mut self, name: &QubeName, domid: DomId) {
        if let Some(machine) = self.machines.get_mut(name) {
            machine.domid = domid;
        }
    }

    /// Takes a machine out, if it is still the one with this domain.
    fn take(&mut self, name: &QubeName, domid: DomId) -> Option<Machine> {
        if self.domid(name) == Some(domid) { self.machines.remove(name) } else { None }
    }

    /// How a qube that runs is kept apart.
    pub(crate) fn isolation(&self, name: &QubeName) -> Option<Isolation> {
        self.machines.get(name)?.isolation
    }

    /// Who has a domain.
    pub(crate) fn names(&self) -> Vec<QubeName> {
        self.machines.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_ids_increase_and_skip_the_living() {
        let mut lives = Lives::new();
        let first = lives.next_domid().unwrap();
        assert_eq!(first.get(), 1);
        lives.machines.insert("a".parse().unwrap(), Machine::new(first));
        for expected in 2..DomId::FIRST_RESERVED {
            assert_eq!(lives.next_domid().unwrap().get(), expected);
        }
        assert_eq!(lives.next_domid().unwrap().get(), 2);
    }
}
