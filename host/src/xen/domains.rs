//! The domains of this host.

use super::images::Images;
use super::records::Records;
use super::{XenSettings, toolstack};
use crate::layout::Layout;
use hypervisor::{Hypervisor, HypervisorError, Machine};
use names::{DomId, QubeName, Uuid};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use xenstore::Xenstore;

/// What this host made on Xen: nobody else's domain is ever touched. Each has a file in `run/xen`, written before it is
/// made, by which a later host finds it (promise P5).
#[derive(Debug)]
pub(crate) struct Domains {
    machine: Machine,
    images: Images,
    records: Records,
    living: Mutex<BTreeMap<DomId, (QubeName, Uuid)>>,
}

/// What a domain is made of.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) name: &'a QubeName,
    pub(crate) uuid: Uuid,
    /// Directories of the qube and of its template, either of which may have `volumes`.
    pub(crate) places: Vec<PathBuf>,
}

impl Domains {
    /// # Errors
    /// The images cannot be made.
    pub(crate) fn new(
        settings: XenSettings,
        layout: &Layout,
        executable: &Path,
        programs: &[String],
        services: &[(String, String)],
        environment: &[(String, String)],
    ) -> io::Result<Self> {
        let records = Records::of(layout);
        records.make()?;
        let images = Images::new(settings, layout.xen(), executable, programs, services, environment)?;
        Ok(Self { machine: machine(), images, records, living: Mutex::default() })
    }

    /// Makes a domain; it runs. Returns its number, which Xen chooses.
    ///
    /// # Errors
    /// What went wrong, in words; nothing is left of it then.
    pub(crate) fn create(&self, wish: &Wish<'_>) -> Result<DomId, String> {
        let (name, uuid) = (wish.name, wish.uuid);
        let root = self.images.root(&wish.places).map_err(|error| error.to_string())?;
        let kernel = self.images.kernel(&wish.places);
        let (kernel, root) = (kernel.to_string_lossy(), root.to_string_lossy());
        let text = super::guest::configuration(
            name.as_str(),
            &uuid.to_string(),
            &kernel,
            &root,
            self.images.settings(),
        );
        let configuration = self.records.write(name, uuid, &text)?;
        let made = toolstack::create(&configuration).and_then(|()| {
            let found = self.machine.domain_of(uuid).map_err(|error| error.to_string())?;
            found.ok_or_else(|| "xl made no domain".to_owned())
        });
        match &made {
            Ok(domid) => drop(self.living().insert(*domid, (name.clone(), uuid))),
            Err(_) => {
                if let Err(error) = clear(&self.machine, &self.records, name) {
                    log::error!("{name}: {error}");
                }
            }
        }
        made
    }

    /// Ends a domain of this host and removes all that Xen and xenstore have of it.
    ///
    /// # Errors
    /// [`HypervisorError::NoSuchDomain`] for one that this host did not make.
    pub(crate) fn destroy(&self, domid: DomId) -> Result<(), HypervisorError> {
        let found = self.living().get(&domid).cloned();
        let (name, uuid) = found.ok_or(HypervisorError::NoSuchDomain(domid))?;
        let is_there = || Ok(self.machine.domain_of(uuid)? == Some(domid));
        if is_there()? {
            if let Err(error) = toolstack::destroy(domid) {
                // Another destroy of the same domain may have been faster.
                if is_there()? {
                    return Err(HypervisorError::Setup(domid, error));
                }
            }
        }
        self.living().remove(&domid);
        forget(&self.records, &name, domid);
        Ok(())
    }

    /// Returns when the domain has ended, by itself or by somebody's doing.
    pub(crate) fn wait(&self, domid: DomId) {
        let mut store = Xenstore::open().and_then(|mut store| {
            store.watch("@releaseDomain", "end")?;
            Ok(store)
        });
        loop {
            match self.machine.info(domid) {
                Ok(Some(info)) if !info.dying => {}
                Ok(_) => return,
                Err(error) => log::warn!("domain {domid}: {error}"),
            }
            let is_told = store.as_mut().is_ok_and(|store| store.next_event(LOOK).is_ok());
            if !is_told {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Xen itself.
    pub(crate) const fn machine(&self) -> &Machine {
        &self.machine
    }

    fn living(&self) -> MutexGuard<'_, BTreeMap<DomId, (QubeName, Uuid)>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Destroys what an earlier host left, by the records in `run/xen`.
///
/// # Errors
/// What could not be destroyed, in words.
pub(crate) fn sweep(layout: &Layout) -> Result<(), String> {
    let records = Records::of(layout);
    let machine = machine();
    let mut failures = Vec::new();
    for name in records.names() {
        match clear(&machine, &records, &name) {
            Ok(true) => log::info!("{name} was left by an earlier host and was destroyed"),
            Ok(false) => {}
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

/// Destroys the domain that a record tells of, however much of it was made; whether it was there. The name tells nothing:
/// it may be somebody else's by now.
fn clear(machine: &Machine, records: &Records, name: &QubeName) -> Result<bool, String> {
    // Without one the host was killed while it wrote: nothing was made yet.
    let Some(uuid) = records.uuid(name) else { return Ok(false) };
    let find = || machine.domain_of(uuid).map_err(|error| error.to_string());
    let Some(domid) = find()? else {
        records.remove(name);
        return Ok(false);
    };
    if let Err(error) = toolstack::destroy(domid) {
        // The earlier host's own may have been under way.
        if find()?.is_some() {
            return Err(error);
        }
    }
    forget(records, name, domid);
    Ok(true)
}

/// What dom0's side of vchans has in xenstore goes with the domain.
fn forget(records: &Records, name: &QubeName, domid: DomId) {
    records.remove(name);
    let removed =
        Xenstore::open().and_then(|mut store| store.remove(&format!("/local/domain/0/data/vchan/{domid}")));
    if let Err(error) = removed {
        log::debug!("vchans of domain {domid}: {error}");
    }
}

fn machine() -> Machine {
    Machine::of(Machine::XEN.into())
}

/// How often to look where no event comes.
const LOOK: Duration = Duration::from_secs(5);
