//! What a host is told when it is started.

use crate::asking::Asking;
use crate::layout::Layout;
use crate::xen::XenSettings;
use hypervisor::local::{Isolation, Mount};
use std::path::PathBuf;

/// The settings of a host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The state directory.
    pub layout: Layout,
    /// The executable that answers to the names of all programs, inside and outside of qubes.
    pub executable: PathBuf,
    /// Where packages are installed (`/`, or another root): programs, services and policy of theirs take the place of this
    /// executable's own. qrexec daemons stay our own.
    pub installed: Option<PathBuf>,
    /// Whether the host runs the keeper of the queue; else somebody else does, for example its unit.
    pub keeper: bool,
    /// Variables for the programs in all qubes, for example `QUBES_OPEN_WITH`.
    pub environment: Vec<(String, String)>,
    /// What the qube `work` sees of this machine beside the system directories.
    pub work_mounts: Vec<Mount>,
    /// How strongly qubes are kept apart.
    pub isolation: Isolation,
    /// Qubes as domains of the Xen that this machine runs on; none: as process trees.
    pub xen: Option<XenSettings>,
    /// The socket to which steps are reported.
    pub story: Option<PathBuf>,
    /// Services in all qubes beside or instead of the usual ones: service and name of the program.
    pub services: Vec<(String, String)>,
    /// Files of the policy for this run alone, ranking above the administrator's: name and content.
    pub policy: Vec<(String, String)>,
    /// Who answers when a rule says that the user decides.
    pub asking: Asking,
    /// A policy daemon to ask in place of this host, for example that of Qubes OS.
    pub policy_socket: Option<PathBuf>,
}

impl HostConfig {
    /// The usual settings for a state directory.
    #[must_use]
    pub fn new(layout: Layout, executable: PathBuf) -> Self {
        Self {
            layout,
            executable,
            installed: None,
            keeper: true,
            environment: Vec::new(),
            work_mounts: Vec::new(),
            isolation: Isolation::Auto,
            xen: None,
            story: None,
            services: Vec::new(),
            policy: Vec::new(),
            asking: Asking::Nobody,
            policy_socket: None,
        }
    }

    /// The program that packages install at `path`, below `/`; without packages this executable.
    #[must_use]
    pub fn program(&self, path: &str) -> PathBuf {
        self.installed.as_ref().map_or_else(|| self.executable.clone(), |root| root.join(path))
    }

    /// Where programs of dom0 find vchans ([`vchan::Config::dir`]).
    #[must_use]
    pub fn vchan(&self) -> PathBuf {
        if self.xen.is_some() { vchan::Config::XEN.into() } else { self.layout.vchan() }
    }

    /// Where programs of dom0 find domains ([`hypervisor::Machine::of`]).
    #[must_use]
    pub fn domains(&self) -> PathBuf {
        if self.xen.is_some() { hypervisor::Machine::XEN.into() } else { self.layout.domains() }
    }
}
