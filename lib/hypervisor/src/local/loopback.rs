//! The one network interface of a qube.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, send, socket};
use std::os::fd::AsRawFd;

/// Switches the loopback interface of our network namespace on: one RTM_NEWLINK message (rtnetlink(7)) for interface
/// 1, which it always is, with IFF_UP set and nothing else changed.
pub(super) fn up() -> nix::Result<()> {
    const LENGTH: u32 = 32;
    let header = [
        LENGTH.to_ne_bytes().to_vec(),
        libc::RTM_NEWLINK.to_ne_bytes().to_vec(),
        // NLM_F_REQUEST alone: without an acknowledgement there is nothing to read.
        1u16.to_ne_bytes().to_vec(),
        [0; 8].to_vec(),
    ];
    let (family_and_type, index, flags, changed) = ([0; 4], 1u32, 1u32, 1u32);
    let body = [
        family_and_type.to_vec(),
        index.to_ne_bytes().to_vec(),
        flags.to_ne_bytes().to_vec(),
        changed.to_ne_bytes().to_vec(),
    ];
    let message = [header.concat(), body.concat()].concat();
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(socket.as_raw_fd(), &message, MsgFlags::empty()).map(drop)
}
