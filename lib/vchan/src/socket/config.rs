//! Where the sockets are and who we are.

use names::DomId;
use std::path::PathBuf;

/// Directory of the sockets and our own domain id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Directory of the sockets; the same for all domains.
    pub dir: PathBuf,
    /// Our own domain id.
    pub own: DomId,
}

impl Config {
    /// Reads `VCHAN_SOCKET_DIR` (default `/var/run/vchan`) and `VCHAN_DOMAIN` (default 0), as libvchan-socket does
    /// (spec/vchan.md 3.1). A domain id that is no domain id counts as 0, as upstream's `atoi` has it.
    #[must_use]
    pub fn from_env() -> Self {
        let dir = std::env::var_os("VCHAN_SOCKET_DIR").unwrap_or_else(|| "/var/run/vchan".into());
        let own = std::env::var("VCHAN_DOMAIN").ok().and_then(|text| text.trim().parse().ok());
        Self { dir: dir.into(), own: own.unwrap_or(DomId::DOM0) }
    }

    /// The path at which `server` listens for `client`: `DIR/vchan.SERVER.CLIENT.PORT.sock` (spec/vchan.md 3.1).
    #[must_use]
    pub fn path(&self, server: DomId, client: DomId, port: u16) -> PathBuf {
        self.dir.join(Self::name(server, client, port))
    }

    pub(super) fn name(server: DomId, client: DomId, port: u16) -> String {
        format!("vchan.{server}.{client}.{port}.sock")
    }
}
