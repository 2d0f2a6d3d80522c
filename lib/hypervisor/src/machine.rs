//! The hypervisor that a configuration names.

use crate::local::Local;
use crate::{DomainInfo, Hypervisor, HypervisorError};
use names::{DomId, Uuid};
use std::path::{Path, PathBuf};

/// Which hypervisor has the domains.
#[derive(Debug)]
pub enum Machine {
    /// Trees of processes, listed in a directory.
    Local(Local),
    /// The Xen that this machine runs on.
    #[cfg(feature = "xen")]
    Xen(crate::xen::Xen),
    /// Xen is meant, but this program was built without it.
    #[cfg(not(feature = "xen"))]
    NoXen,
}

impl Machine {
    /// The directory that stands for Xen in place of a registry: there can be no registry in it.
    pub const XEN: &str = "/proc/xen";

    /// The hypervisor whose domains are listed in `domains`, or Xen for [`Self::XEN`].
    #[must_use]
    pub fn of(domains: PathBuf) -> Self {
        if domains != Path::new(Self::XEN) {
            return Self::Local(Local::new(domains));
        }
        #[cfg(feature = "xen")]
        return Self::Xen(crate::xen::Xen::new());
        #[cfg(not(feature = "xen"))]
        return Self::NoXen;
    }

    /// Asks a domain to shrink or grow to so many bytes; it obliges in its own time. False where domains have no memory of
    /// their own: trees of processes share the machine's.
    ///
    /// # Errors
    /// [`HypervisorError::NoSuchDomain`]; the hypervisor refuses.
    #[cfg_attr(not(feature = "xen"), allow(unused_variables, clippy::unnecessary_wraps))]
    pub fn set_memory_target(&self, domid: DomId, bytes: u64) -> Result<bool, HypervisorError> {
        match self {
            Self::Local(_) => Ok(false),
            #[cfg(feature = "xen")]
            Self::Xen(xen) => xen.set_memory_target(domid, bytes).map(|()| true),
            #[cfg(not(feature = "xen"))]
            Self::NoXen => self.inner().map(|_| false),
        }
    }

    /// The number of the domain of Xen with this identity, unless it is dying: also of one that its toolstack has left half
    /// made, without a name. `None` where the domains are trees of processes.
    ///
    /// # Errors
    /// Xen cannot be asked.
    #[cfg_attr(not(feature = "xen"), allow(unused_variables))]
    pub fn domain_of(&self, uuid: Uuid) -> Result<Option<DomId>, HypervisorError> {
        match self {
            Self::Local(_) => Ok(None),
            #[cfg(feature = "xen")]
            Self::Xen(xen) => xen.domain_of(uuid),
            #[cfg(not(feature = "xen"))]
            Self::NoXen => self.inner().map(|_| None),
        }
    }

    fn inner(&self) -> Result<&dyn Hypervisor, HypervisorError> {
        match self {
            Self::Local(local) => Ok(local),
            #[cfg(feature = "xen")]
            Self::Xen(xen) => Ok(xen),
            #[cfg(not(feature = "xen"))]
            Self::NoXen => Err(HypervisorError::Unavailable(
                "this program was built without Xen; build it with the feature xen".into(),
            )),
        }
    }
}

impl Hypervisor for Machine {
    fn info(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
        self.inner()?.info(domid)
    }

    fn pause(&self, domid: DomId) -> Result<(), HypervisorError> {
        self.inner()?.pause(domid)
    }

    fn unpause(&self, domid: DomId) -> Result<(), HypervisorError> {
        self.inner()?.unpause(domid)
    }

    fn destroy(&self, domid: DomId) -> Result<(), HypervisorError> {
        self.inner()?.destroy(domid)
    }
}
