//! Where everything of a host lies: one directory, `/` of a small dom0.

use crate::lock;
use names::{DomId, QubeName};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The paths under a state directory. Nothing is created before [`Layout::create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    state: PathBuf,
}

impl Layout {
    /// The layout of this state directory, an absolute path.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self { state: state.into() }
    }

    /// The state directory itself.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// `run`: sockets `qrexec.*` and what lives as long as the host.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.state.join("run")
    }

    /// The Admin API.
    #[must_use]
    pub fn qubesd_socket(&self) -> PathBuf {
        self.state.join("run/qubesd.sock")
    }

    /// The internal part of the Admin API.
    #[must_use]
    pub fn qubesd_internal_socket(&self) -> PathBuf {
        self.state.join("run/qubesd.internal.sock")
    }

    /// Where qrexec daemons ask the policy.
    #[must_use]
    pub fn policy_socket(&self) -> PathBuf {
        self.state.join("run/policy.sock")
    }

    /// Where events for people go.
    #[must_use]
    pub fn story_socket(&self) -> PathBuf {
        self.state.join("run/story.sock")
    }

    /// The queue of preloaded disposables.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.state.join("run/dispvm")
    }

    /// The registry of the local hypervisor.
    #[must_use]
    pub fn domains(&self) -> PathBuf {
        self.state.join("run/domains")
    }

    /// Domains on Xen: one file each, and their images.
    #[must_use]
    pub fn xen(&self) -> PathBuf {
        self.state.join("run/xen")
    }

    /// Long-lived processes of the host, one file each: pid and start time.
    #[must_use]
    pub fn processes(&self) -> PathBuf {
        self.state.join("run/processes")
    }

    /// The runtime part of the policy, which ranks above [`Self::policy`].
    #[must_use]
    pub fn runtime_policy(&self) -> PathBuf {
        self.state.join("run/policy.d")
    }

    /// Sockets of the vchan transport.
    #[must_use]
    pub fn vchan(&self) -> PathBuf {
        self.state.join("vchan")
    }

    /// Services of dom0.
    #[must_use]
    pub fn services(&self) -> PathBuf {
        self.state.join("etc/qubes-rpc")
    }

    /// Configuration of services in dom0.
    #[must_use]
    pub fn rpc_config(&self) -> PathBuf {
        self.state.join("etc/qubes/rpc-config")
    }

    /// The configuration of the disposables' programs.
    #[must_use]
    pub fn dispvm_config(&self) -> PathBuf {
        self.state.join("etc/qubes/dispvm.toml")
    }

    /// The administrator's policy.
    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.state.join("etc/policy.d")
    }

    /// The file of the qubes.
    #[must_use]
    pub fn qubes_file(&self) -> PathBuf {
        self.state.join("qubes.toml")
    }

    /// Directories of all qubes.
    #[must_use]
    pub fn qubes(&self) -> PathBuf {
        self.state.join("qubes")
    }

    /// The directory of one qube.
    #[must_use]
    pub fn qube(&self, name: impl AsRef<str>) -> PathBuf {
        self.qubes().join(name.as_ref())
    }

    /// What a qube keeps: its home.
    #[must_use]
    pub fn private(&self, name: impl AsRef<str>) -> PathBuf {
        self.qube(name).join("private")
    }

    /// Logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("log")
    }

    /// The socket by which a qube's qrexec daemon is found by name.
    #[must_use]
    pub fn daemon_link(&self, name: &QubeName) -> PathBuf {
        self.run().join(format!("qrexec.{name}"))
    }

    /// The socket of a qube's qrexec daemon.
    #[must_use]
    pub fn daemon_socket(&self, domid: DomId) -> PathBuf {
        self.run().join(format!("qrexec.{domid}"))
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.state.join("host.lock")
    }

    /// Makes all directories, for the user alone, and removes the story socket of an earlier host, so that a new one can
    /// listen. What exists stays.
    ///
    /// # Errors
    /// A directory cannot be made, or a host runs here (kind `ResourceBusy`, naming its pid).
    pub fn create(&self) -> io::Result<()> {
        make(&self.state)?;
        let lock = lock::StateLock::take(&self.lock())?;
        self.make_directories()?;
        match fs::remove_file(self.story_socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        drop(lock);
        Ok(())
    }

    pub(crate) fn make_directories(&self) -> io::Result<()> {
        self.directories().iter().try_for_each(|directory| make(directory))
    }

    fn directories(&self) -> [PathBuf; 11] {
        [
            self.run(),
            self.queue(),
            self.domains(),
            self.processes(),
            self.runtime_policy(),
            self.vchan(),
            self.services(),
            self.rpc_config(),
            self.policy(),
            self.qubes(),
            self.log(),
        ]
    }
}

/// A directory for the user alone, with all above it.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    let context = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(context)
}
