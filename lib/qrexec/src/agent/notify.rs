//! Telling the service manager that the agent is ready (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Sends `READY=1` to the socket that `NOTIFY_SOCKET` names, a path or `@` and an abstract name.
pub(super) fn ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    if let Err(error) = send(&name, b"READY=1") {
        log::warn!("telling the service manager at {} failed: {error}", names::printable(name.as_bytes()));
    }
}

fn send(name: &OsStr, state: &[u8]) -> io::Result<()> {
    let socket = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
            socket
        }
        None => os::socket::connect_datagram(Path::new(name))?,
    };
    socket.send(state).map(drop)
}
