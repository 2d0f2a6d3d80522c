//! The agent's main loop: polls, reads, and does what the state machine says.

use super::call::{self, EndNotice, Shared};
use super::core::{Action, Call, Core};
use super::error::AgentError;
use super::meminfo::Meminfo;
use super::notify;
use super::options::Options;
use super::requests::RequestId;
use super::session::Session;
use super::trigger_socket::TriggerSocket;
use crate::data::Wishes;
use crate::exec::{Place, Surroundings};
use names::DomId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{MsgFlags, recv, send};
use qubes_qrexec_sys::{ExecParams, limit};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use vchan::Vchan;

/// Runs until a signal asks for the end.
pub(super) fn run(options: &Options) -> Result<(), AgentError> {
    let signals = watch_signals().map_err(|cause| AgentError::System("preparing signals", cause))?;
    let wishes = Wishes::new().map_err(|cause| AgentError::System("preparing SIGUSR1", cause))?;
    let config = vchan::Config::from_env();
    let Some(vchan) = wait_for_daemon(&config, &signals)? else { return Ok(()) };
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| AgentError::System("making an event descriptor", errno.into()))?;
    let (ended, endings) = channel();
    let mut driver = Driver {
        core: Core::new(),
        vchan,
        outbox: Vec::new(),
        path: options.socket.clone(),
        listener: None,
        crowded: false,
        locals: BTreeMap::new(),
        shared: Arc::new(Shared {
            surroundings: Surroundings::from_env(Place::Qube),
            vchan: config,
            session: Session::default(),
            wishes,
        }),
        wake: Arc::new(wake),
        ended,
        endings,
        meminfo: Meminfo::default(),
    };
    driver.act(vec![Core::start()])?;
    driver.run(&signals)
}

/// Readable once SIGTERM or SIGINT has come, which end the main loop. Nothing is blocked, for started programs would
/// inherit that.
fn watch_signals() -> io::Result<UnixStream> {
    let (signals, handler) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGINT, handler.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGTERM, handler)?;
    Ok(signals)
}

/// `None` when a signal came first.
fn wait_for_daemon(config: &vchan::Config, signals: &UnixStream) -> Result<Option<Vchan>, AgentError> {
    let failed = |cause| AgentError::Vchan(config.path(config.own, DomId::DOM0, CONTROL_PORT), cause);
    let server = vchan::Server::bind(config, DomId::DOM0, CONTROL_PORT).map_err(failed)?;
    loop {
        let mut fds =
            [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(server.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(AgentError::System("waiting for the daemon", errno.into())),
            Ok(_) if fds[0].any() == Some(true) => return Ok(None),
            Ok(_) => break,
        }
    }
    let vchan = server.accept(None).map_err(failed)?;
    vchan.set_nonblocking(true).map_err(failed)?;
    Ok(Some(vchan))
}

struct Driver {
    core: Core,
    vchan: Vchan,
    /// What the daemon has not taken yet.
    outbox: Vec<u8>,
    path: PathBuf,
    listener: Option<TriggerSocket>,
    /// The last accept failed for want of descriptors or memory: pause a little.
    crowded: bool,
    locals: BTreeMap<RequestId, UnixStream>,
    shared: Arc<Shared>,
    wake: Arc<EventFd>,
    ended: Sender<ExecParams>,
    endings: Receiver<ExecParams>,
    meminfo: Meminfo,
}

/// What is ready.
#[derive(Default)]
struct Ready {
    signal: bool,
    readable: bool,
    writable: bool,
    woken: bool,
    wish: bool,
    connection: bool,
    locals: Vec<RequestId>,
}

impl Driver {
    fn run(&mut self, signals: &UnixStream) -> Result<(), AgentError> {
        loop {
            let ready = self.poll(signals)?;
            if ready.signal {
                return Ok(());
            }
            if ready.readable {
                self.read_daemon()?;
            }
            if ready.writable {
                self.flush()?;
            }
            if ready.wish {
                self.shared.wishes.hear();
            }
            if ready.woken {
                self.take_endings()?;
            }
            for id in ready.locals {
                self.read_local(id)?;
            }
            if ready.connection {
                self.accept()?;
            }
        }
    }

    fn poll(&mut self, signals: &UnixStream) -> Result<Ready, AgentError> {
        let mut daemon = PollFlags::POLLIN;
        daemon.set(PollFlags::POLLOUT, !self.outbox.is_empty());
        let mut fds = vec![
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.vchan.as_fd(), daemon),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.shared.wishes.as_fd(), PollFlags::POLLIN),
        ];
        // A daemon that does not take what it was sent is not sent more.
        let accepting = self.outbox.is_empty() && self.core.has_room() && !self.crowded;
        let listener = self.listener.as_ref().filter(|_| accepting);
        fds.extend(listener.map(|listener| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        let mut polled = Vec::with_capacity(self.locals.len());
        for (id, stream) in &self.locals {
            let heard = if self.core.is_heard(*id) { PollFlags::POLLIN } else { PollFlags::empty() };
            fds.push(PollFd::new(stream.as_fd(), heard));
            polled.push(*id);
        }
        let timeout = if self.crowded { PollTimeout::from(PAUSE_MS) } else { PollTimeout::NONE };
        self.crowded = false;
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(AgentError::System("poll", errno.into())),
            Ok(_) => {}
        }
        let mut events = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut next = || events.next().unwrap_or(PollFlags::empty());
        let signal = !next().is_empty();
        let daemon = next();
        let woken = !next().is_empty();
        let wish = !next().is_empty();
        let connection = listener.is_some() && !next().is_empty();
        Ok(Ready {
            signal,
            readable: daemon.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR),
            writable: daemon.contains(PollFlags::POLLOUT),
            woken,
            wish,
            connection,
            locals: polled.into_iter().filter(|_| !next().is_empty()).collect(),
        })
    }

    fn read_daemon(&mut self) -> Result<(), AgentError> {
        let mut buffer = [0; limit::CONTROL_RING];
        match (&self.vchan).read(&mut buffer) {
            Ok(0) => Err(AgentError::DaemonGone),
            Ok(len) => {
                let actions = self.core.daemon_bytes(&buffer[..len]).map_err(AgentError::Protocol)?;
                self.act(actions)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Err(AgentError::DaemonGone),
                _ => Err(AgentError::System("reading from the daemon", error)),
            },
        }
    }

    fn flush(&mut self) -> Result<(), AgentError> {
        while !self.outbox.is_empty() {
            match (&self.vchan).write(&self.outbox) {
                Ok(len) => drop(self.outbox.drain(..len)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                        return Err(AgentError::DaemonGone);
                    }
                    _ => return Err(AgentError::System("writing to the daemon", error)),
                },
            }
        }
        Ok(())
    }

    fn take_endings(&mut self) -> Result<(), AgentError> {
        // Cleared before the queue is emptied: an end that comes in between wakes us once more.
        if let Err(errno) = self.wake.read() {
            log::debug!("woken for nothing: {errno}");
        }
        let ended: Vec<_> = self.endings.try_iter().map(Core::call_ended).collect();
        self.act(ended)
    }

    fn accept(&mut self) -> Result<(), AgentError> {
        let Some(listener) = &self.listener else { return Ok(()) };
        match listener.accept() {
            Ok(Some(stream)) => {
                let (id, actions) = self.core.local_connected();
                self.locals.insert(id, stream);
                self.act(actions)?;
                // The request is mostly here already.
                self.read_local(id)
            }
            Ok(None) => Ok(()),
            Err(error) => {
                log::error!("taking a local program's connection failed: {error}");
                self.crowded = true;
                Ok(())
            }
        }
    }

    fn read_local(&mut self, id: RequestId) -> Result<(), AgentError> {
        let Some(stream) = self.locals.get(&id) else { return Ok(()) };
        let mut buffer = [0; LOCAL_BUFFER];
        let actions = match recv(stream.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Ok(0) | Err(_) => self.core.local_closed(id),
            Ok(len) => self.core.local_bytes(id, &buffer[..len]),
        };
        self.act(actions)
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<(), AgentError> {
        for action in actions {
            match action {
                Action::Send(bytes) => {
                    self.outbox.extend_from_slice(&bytes);
                    self.flush()?;
                }
                Action::Ready => {
                    let socket = TriggerSocket::bind(&self.path)
                        .map_err(|cause| AgentError::TriggerSocket(self.path.clone(), cause))?;
                    self.listener = Some(socket);
                    notify::ready();
                    log::info!("ready at {}", self.path.display());
                }
                Action::Serve(call) => {
                    self.serve(call);
                    self.meminfo.wake();
                }
                Action::Answer(id, answer) => {
                    self.answer(id, answer);
                    self.meminfo.wake();
                }
                Action::Close(id) => drop(self.locals.remove(&id)),
            }
        }
        Ok(())
    }

    /// A program that has gone shows as a closed connection in the next round.
    fn answer(&self, id: RequestId, answer: [u8; ExecParams::SIZE]) {
        let Some(stream) = self.locals.get(&id) else { return };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        if let Err(errno) = send(stream.as_raw_fd(), &answer, flags) {
            log::debug!("answering {id}: {errno}");
        }
    }

    fn serve(&self, call: Call) {
        let notice = EndNotice { peer: call.peer, ended: self.ended.clone(), wake: Arc::clone(&self.wake) };
        let shared = Arc::clone(&self.shared);
        let started = thread::Builder::new()
            .name(format!("call {}", call.peer.connect_port))
            .spawn(move || call::run(&call, &shared, notice));
        if let Err(error) = started {
            log::error!("a call is lost, for there is no thread for it: {error}");
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "512")]
const CONTROL_PORT: u16 = limit::CONTROL_PORT as u16;
/// As much as a request may have.
const LOCAL_BUFFER: usize = 8 + limit::CONTROL_RING;
const PAUSE_MS: u8 = 100;
