//! Asking the agent, and waiting for the other side (spec/qrexec-wire.md, section 8).

use super::error::ClientVmError;
use super::options::Options;
use crate::wire::{Ident, Message, Trigger, layout};
use names::DomId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use qubes_qrexec_sys::ExecParams;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Where the other end of the data channel will come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) domain: DomId,
    pub(super) port: u16,
}

/// Sends the request in one write and waits for the answer, which may take as long as a person needs to decide.
pub(super) fn request(options: &Options) -> Result<(UnixStream, Peer), ClientVmError> {
    let mut agent = os::socket::connect(&options.agent_socket)
        .map_err(|cause| ClientVmError::Agent(options.agent_socket.clone(), cause))?;
    // What upstream's sends, zeros to the end: the agent writes its own number there.
    let ident = Ident::from_bytes(layout::padded(b"SOCKET").unwrap_or([0; Ident::SIZE]));
    let trigger = Trigger::new(&options.source, &options.target, ident, &options.service);
    match agent.write_all(&Message::TriggerService4(trigger).to_bytes()) {
        // An agent that refuses by closing has perhaps not read everything.
        Err(error) if !is_closed(&error) => return Err(ClientVmError::Request(error)),
        _ => {}
    }
    let peer = answer(&mut agent)?;
    Ok((agent, peer))
}

fn answer(agent: &mut UnixStream) -> Result<Peer, ClientVmError> {
    let mut bytes = [0; ExecParams::SIZE];
    let mut len = 0;
    while len < bytes.len() {
        match agent.read(&mut bytes[len..]) {
            Ok(0) if len == 0 => return Err(ClientVmError::Refused),
            Ok(0) => return Err(ClientVmError::ShortAnswer(len)),
            Ok(more) => len += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_closed(&error) => return Err(ClientVmError::Refused),
            Err(error) => return Err(ClientVmError::Request(error)),
        }
    }
    let ExecParams { connect_domain: domain, connect_port: port } = ExecParams::from_bytes(bytes);
    match (DomId::try_from(domain), u16::try_from(port)) {
        (Ok(domain), Ok(port)) => Ok(Peer { domain, port }),
        _ => Err(ClientVmError::BadAnswer { domain, port }),
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Waits until the service's side has connected. The end of the agent before that is the end of the call.
pub(super) fn wait_for_peer(
    server: &vchan::Server,
    agent: &UnixStream,
    limit: Duration,
) -> Result<(), ClientVmError> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds =
            [PollFd::new(server.as_fd(), PollFlags::POLLIN), PollFd::new(agent.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(ClientVmError::Request(errno.into())),
            Ok(0) if left.is_zero() => return Err(ClientVmError::NobodyCame),
            Ok(_) if fds[0].any() == Some(true) => return Ok(()),
            Ok(_) if fds[1].any() == Some(true) => return Err(ClientVmError::AgentGone),
            Ok(_) => {}
        }
    }
}
