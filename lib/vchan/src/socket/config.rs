//! Where the sockets are and who we are.

use names::DomId;
use std::path::{Path, PathBuf};

/// Which transport, and our own domain id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory of the sockets; the same for all domains. [`Self::XEN`] stands for the Xen transport: a directory of
    /// devices, in which there can be no sockets.
    pub dir: PathBuf,
    /// Our own domain id. The Xen transport asks Xen instead.
    pub own: DomId,
}

impl Config {
    /// The directory that means the Xen transport, where Xen's devices are.
    pub const XEN: &str = "/dev/xen";

    /// Whether the Xen transport is meant.
    #[must_use]
    pub fn is_xen(&self) -> bool {
        self.dir == Path::new(Self::XEN)
    }

    /// Reads `VCHAN_SOCKET_DIR` (default `/var/run/vchan`) and `VCHAN_DOMAIN` (default 0), as libvchan-socket does
    /// (spec/vchan.md 3.1). A domain id that is no domain id counts as 0, as upstream's `atoi` has it. With the feature
    /// `xen`, the default in a domain of a Xen machine is [`Self::XEN`].
    #[must_use]
    pub fn from_env() -> Self {
        let default = if cfg!(feature = "xen") && Path::new("/dev/xen/evtchn").exists() {
            Self::XEN
        } else {
            "/var/run/vchan"
        };
        let dir = std::env::var_os("VCHAN_SOCKET_DIR").unwrap_or_else(|| default.into());
        let own = std::env::var("VCHAN_DOMAIN").ok().and_then(|text| text.trim().parse().ok());
        Self { dir: dir.into(), own: own.unwrap_or(DomId::DOM0) }
    }

    /// The path at which `server` listens for `client`: `DIR/vchan.SERVER.CLIENT.PORT.sock` (spec/vchan.md 3.1).
    #[must_use]
    pub fn path(&self, server: DomId, client: DomId, port: u16) -> PathBuf {
        self.dir.join(Self::name(server, client, port))
    }

    /// What is said when this build lacks what the configuration asks for.
    #[cfg(not(feature = "xen"))]
    pub(super) fn no_xen() -> std::io::Error {
        let text = "this program was built without the Xen transport; build it with the feature xen";
        std::io::Error::new(std::io::ErrorKind::Unsupported, text)
    }

    pub(super) fn name(server: DomId, client: DomId, port: u16) -> String {
        format!("vchan.{server}.{client}.{port}.sock")
    }
}
