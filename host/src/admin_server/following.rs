//! `admin.Events`: the connection stays and carries what happens (spec/admin-api.md, section 6).

use super::{Ask, only_dom0};
use crate::dom0::Dom0;
use crate::store::Refusal;
use admin::protocol::Event;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// How often a silent connection is looked at, in case the client has gone.
const LOOK: Duration = Duration::from_secs(2);

pub(super) fn check(ask: &Ask<'_>) -> Result<(), Refusal> {
    only_dom0(ask)?;
    if !ask.arg.is_empty() {
        return Err(Refusal::protocol("unexpected argument"));
    }
    if !ask.payload.is_empty() {
        return Err(Refusal::protocol("unexpected payload"));
    }
    Ok(())
}

pub(super) fn follow(dom0: &Arc<Dom0>, ask: &Ask<'_>, mut stream: UnixStream) {
    let only = Some(ask.dest.clone()).filter(|dest| !dest.is_dom0());
    let events = dom0.events.follow(only);
    if stream.write_all(&Event::new("", "connection-established").encode()).is_err() {
        return;
    }
    loop {
        match events.recv_timeout(LOOK) {
            Ok(bytes) => {
                if stream.write_all(&bytes).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) if has_gone(&stream) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The client shut down its writing long ago; only a hang-up says that it does not read either.
fn has_gone(stream: &UnixStream) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    let seen = fds[0].revents().unwrap_or(PollFlags::POLLHUP);
    polled.is_err() || seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR)
}
