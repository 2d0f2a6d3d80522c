//! The end that waits for its one client.

use super::channel::Channel;
use super::path;
use super::pump::{Pump, Ring};
use crate::Vchan;
use names::DomId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use xenstore::Xenstore;

/// A server that no client has reached yet. Its names in xenstore go when the client is there, or with it.
#[derive(Debug)]
pub(crate) struct XenServer {
    /// Dropped before the channel: a client that comes too late must find no names of what is gone.
    names: Names,
    channel: Channel,
}

/// What xenstore says of a server; removed when dropped.
#[derive(Debug)]
struct Names {
    peer: DomId,
    port: u16,
}

impl XenServer {
    pub(crate) fn bind(peer: DomId, port: u16) -> io::Result<Self> {
        let channel = Channel::serve(peer, port)?;
        Ok(Self { names: Names { peer, port }, channel })
    }

    /// Waits for the client; [`io::ErrorKind::TimedOut`] when none comes in time, [`io::ErrorKind::ConnectionReset`] when
    /// its domain dies.
    pub(crate) fn accept(self, timeout: Option<Duration>) -> io::Result<Vchan> {
        let Self { mut channel, names } = self;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        while !channel.is_met() {
            let left =
                deadline.map_or(TICK, |until| until.saturating_duration_since(Instant::now()).min(TICK));
            let millis = left.as_millis() + u128::from(left.subsec_nanos() % 1_000_000 != 0);
            let limit = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(channel.as_fd(), PollFlags::POLLIN)], limit) {
                Ok(0) if deadline.is_some_and(|until| Instant::now() >= until) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no client came"));
                }
                Ok(0) if !channel.is_peer_alive() => {
                    let text = format!("domain {} died before it came", names.peer);
                    return Err(io::Error::new(io::ErrorKind::ConnectionReset, text));
                }
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => channel.silence()?,
                Err(error) => return Err(error.into()),
            }
        }
        // They have done their work. Later they could be those of a newer server.
        drop(names);
        vchan(channel)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let removed = Xenstore::open().and_then(|mut store| {
            store.remove_and_prune(&path::of_client(self.peer), &self.port.to_string())
        });
        if let Err(error) = removed {
            log::debug!("vchan: the names of port {} stay: {error}", self.port);
        }
    }
}

impl AsFd for XenServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// A connected ring as a vchan.
pub(super) fn vchan(channel: Channel) -> io::Result<Vchan> {
    let (own, socket) = std::os::unix::net::UnixStream::pair()?;
    Ok(Vchan::pumped(own, Pump::start(channel, socket)?))
}

/// How often to look whether the client's domain lives.
const TICK: Duration = Duration::from_secs(1);
