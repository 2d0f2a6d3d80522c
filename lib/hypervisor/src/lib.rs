//! What a hypervisor does for disposables: tell who a domain is, pause it, wake it, destroy it.
//!
//! [`Hypervisor`] is the whole of what the queue and its claimers need. [`local::Local`] does it with trees of Linux
//! processes, without root, so that everything above runs on any Linux machine. Namespaces are no substitute for Xen as
//! a security boundary (design, section 6). With the feature `xen`, `xen::Xen` does it on a real one. [`Machine`] is the
//! one of the two that a configuration names.

mod error;
pub mod local;
mod machine;
#[cfg(feature = "xen")]
pub mod xen;

pub use error::HypervisorError;
pub use machine::Machine;

use names::{DomId, QubeName, Uuid};

/// A domain as the hypervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its number, unique among the living.
    pub domid: DomId,
    /// The identity of the qube, for all its life.
    pub uuid: Uuid,
    /// The qube's name.
    pub name: QubeName,
    /// Whether it is paused as a whole.
    pub paused: bool,
    /// Whether it has ended but is not yet cleared away. It will never run again.
    pub dying: bool,
}

/// A hypervisor. All calls block, and are short: microseconds, but for `pause` and `destroy` of a busy domain.
pub trait Hypervisor {
    /// Who the domain is and what it does; `None` when there is no such domain.
    ///
    /// # Errors
    /// When the hypervisor cannot be asked.
    fn info(&self, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError>;

    /// Stops a running domain. When this returns, nothing in it runs.
    ///
    /// # Errors
    /// [`HypervisorError::AlreadyPaused`] when it is paused (Xen would count a second pause), [`HypervisorError::NoSuchDomain`].
    /// After any other error the domain runs.
    fn pause(&self, domid: DomId) -> Result<(), HypervisorError>;

    /// Wakes a paused domain.
    ///
    /// # Errors
    /// [`HypervisorError::NotPaused`] when it runs (Xen: EINVAL), [`HypervisorError::NoSuchDomain`].
    fn unpause(&self, domid: DomId) -> Result<(), HypervisorError>;

    /// Ends a domain, running or paused. When this returns, every process of it is gone.
    ///
    /// # Errors
    /// [`HypervisorError::NoSuchDomain`]; [`HypervisorError::Timeout`] when something in it could not be killed within seconds.
    fn destroy(&self, domid: DomId) -> Result<(), HypervisorError>;
}
