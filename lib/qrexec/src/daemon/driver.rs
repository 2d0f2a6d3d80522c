//! The loop: waits for bytes and mail, feeds the machine, does what it says. Nothing in it blocks but the wait.

use super::door::Door;
use super::machine::{Action, Machine};
use super::mail::{Inbox, Mail, Outbox};
use super::options::Options;
use super::request::Desk;
use super::{ClientId, End};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use vchan::Vchan;

/// Everything the loop owns.
pub(super) struct Driver<'a> {
    options: &'a Options,
    vchan: vchan::Config,
    machine: Machine,
    inbox: Inbox,
    outbox: Outbox,
    desk: Arc<Desk>,
    agent: Option<Vchan>,
    /// Bytes that the agent's ring has not taken yet.
    outgoing: Vec<u8>,
    door: Option<Door>,
    clients: BTreeMap<ClientId, UnixStream>,
    next_client: u64,
    /// Until when the agent has to be there.
    deadline: Option<Instant>,
    /// Until when nobody is accepted: there were no descriptors left.
    rest: Option<Instant>,
    on_ready: Option<Box<dyn FnOnce() + 'a>>,
}

/// What a round of waiting has found.
#[derive(Default)]
struct Ready {
    mail: bool,
    agent: bool,
    door: bool,
    clients: Vec<ClientId>,
}

impl<'a> Driver<'a> {
    /// A daemon that is not connected yet. `on_ready` is called when its sockets are there for the first time.
    pub(super) fn new(
        options: &'a Options,
        vchan: vchan::Config,
        (inbox, outbox): (Inbox, Outbox),
        desk: Arc<Desk>,
        on_ready: impl FnOnce() + 'a,
    ) -> Self {
        Self {
            options,
            vchan,
            machine: Machine::new(options.domain.get().into(), options.default_user.as_str()),
            inbox,
            outbox,
            desk,
            agent: None,
            outgoing: Vec::new(),
            door: None,
            clients: BTreeMap::new(),
            next_client: 0,
            deadline: options.startup_limit.map(|limit| Instant::now() + limit),
            rest: None,
            on_ready: Some(Box::new(on_ready)),
        }
    }

    /// Runs until a signal or the agent's fault ends it. The sockets are gone when it returns.
    pub(super) fn run(&mut self) -> End {
        let mut buffer = vec![0; READ];
        self.seek_agent();
        while !self.inbox.is_terminated() {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(end) => return end,
            };
            if let Some(end) = self.round(&ready, &mut buffer) {
                self.door = None;
                self.part(&mut buffer);
                return end;
            }
        }
        End::Terminated
    }

    fn round(&mut self, ready: &Ready, buffer: &mut [u8]) -> Option<End> {
        if ready.mail {
            for mail in self.inbox.collect() {
                self.take_mail(mail);
            }
        }
        if ready.agent {
            self.read_agent(buffer);
        }
        if ready.door {
            self.accept();
        }
        for &id in &ready.clients {
            self.read_client(id, buffer);
        }
        let end = self.act();
        self.flush_agent();
        end
    }

    /// How long to wait at most.
    fn limit(&self) -> Result<PollTimeout, End> {
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        if self.deadline.is_some_and(|deadline| left(deadline).is_zero()) {
            return Err(End::NoAgent);
        }
        Ok(match self.deadline.into_iter().chain(self.rest).min() {
            None => PollTimeout::NONE,
            // Rounded up, so that the time is over when the wait is.
            Some(until) => PollTimeout::try_from(left(until).as_millis() + 1).unwrap_or(PollTimeout::MAX),
        })
    }

    fn wait(&mut self) -> Result<Ready, End> {
        self.rest = self.rest.filter(|&until| Instant::now() < until);
        let mut fds = vec![PollFd::new(self.inbox.as_fd(), PollFlags::POLLIN)];
        let agent = self.agent.as_ref().map(|agent| {
            let mut wish = PollFlags::empty();
            wish.set(PollFlags::POLLIN, self.outgoing.len() < DEAF_TO_AGENT);
            wish.set(PollFlags::POLLOUT, !self.outgoing.is_empty());
            PollFd::new(agent.as_fd(), wish)
        });
        let has_agent = agent.is_some();
        fds.extend(agent);
        let hears = self.outgoing.len() < DEAF_TO_CLIENTS;
        let door = self.door.as_ref().filter(|_| hears && self.rest.is_none() && self.machine.has_room());
        fds.extend(door.map(|door| PollFd::new(door.as_fd(), PollFlags::POLLIN)));
        if hears {
            fds.extend(self.clients.values().map(|client| PollFd::new(client.as_fd(), PollFlags::POLLIN)));
        }
        let limit = self.limit()?;
        match poll(&mut fds, limit) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready { mail: true, ..Ready::default() }),
            Err(error) => return Err(End::Poll(error.into())),
        }
        let mut found = fds.iter().map(|fd| fd.any().unwrap_or(true));
        let has_door = door.is_some();
        Ok(Ready {
            mail: found.next() == Some(true),
            agent: has_agent && found.next() == Some(true),
            door: has_door && found.next() == Some(true),
            clients: self.clients.keys().zip(found).filter(|(_, ready)| *ready).map(|(&id, _)| id).collect(),
        })
    }

    fn take_mail(&mut self, mail: Mail) {
        match mail {
            // A read that blocks would stop everything; better no agent than that.
            Mail::Agent(agent) => match agent.and_then(|agent| agent.set_nonblocking(true).map(|()| agent)) {
                Ok(agent) => {
                    self.agent = Some(agent);
                    self.machine.agent_connected();
                }
                Err(error) => {
                    log::error!("connecting to the agent of {} failed: {error}", self.options.name);
                    self.seek_agent_after(PAUSE);
                }
            },
            Mail::Connect(id, to, reply) => {
                let port = self.machine.connect(id, to);
                // The thread that asked may have been ended by the process's end only.
                let _: Result<(), _> = reply.send(port);
            }
            Mail::Ended(id) => self.machine.ended(id),
        }
    }

    fn read_agent(&mut self, buffer: &mut [u8]) {
        let Some(mut agent) = self.agent.as_ref() else { return };
        match agent.read(buffer) {
            Ok(0) => self.lose_agent(),
            Ok(count) => self.machine.agent_sent(buffer.get(..count).unwrap_or_default()),
            Err(error) if is_transient(&error) => {}
            Err(error) => {
                log::info!("reading from the agent of {} failed: {error}", self.options.name);
                self.lose_agent();
            }
        }
    }

    fn lose_agent(&mut self) {
        self.agent = None;
        self.outgoing.clear();
        self.machine.agent_lost();
    }

    /// Before the control connection is given up: a peer that is still sending sees an end rather than a reset, which
    /// would take with it what it has not read yet.
    fn part(&mut self, buffer: &mut [u8]) {
        let Some(mut agent) = self.agent.take() else { return };
        let deadline = Instant::now() + PARTING;
        if agent.finish_writing().is_err() {
            return;
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::ZERO);
            let waited = poll(&mut [PollFd::new(agent.as_fd(), PollFlags::POLLIN)], limit);
            if !matches!((waited, agent.read(buffer)), (Ok(1..), Ok(1..))) {
                return;
            }
        }
    }

    fn flush_agent(&mut self) {
        let Some(mut agent) = self.agent.as_ref() else { return };
        while !self.outgoing.is_empty() {
            match agent.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_transient(&error) => return,
                Err(_) => {
                    // The agent is gone; what it sent before is still to be read, and then its end.
                    return self.outgoing.clear();
                }
            }
        }
    }

    fn accept(&mut self) {
        while self.machine.has_room() {
            let client = match self.door.as_ref().map(Door::accept) {
                Some(Ok(Some(client))) => client,
                Some(Ok(None)) | None => return,
                Some(Err(error)) => {
                    self.rest = Some(Instant::now() + PAUSE);
                    return log::warn!("accepting a client of {} failed: {error}", self.options.name);
                }
            };
            let id = ClientId(self.next_client);
            self.next_client += 1;
            self.clients.insert(id, client);
            self.machine.client_connected(id);
        }
    }

    fn read_client(&mut self, id: ClientId, buffer: &mut [u8]) {
        let Some(mut client) = self.clients.get(&id) else { return };
        match client.read(buffer) {
            Ok(0) => self.machine.client_closed(id),
            Ok(count) => self.machine.client_sent(id, buffer.get(..count).unwrap_or_default()),
            Err(error) if is_transient(&error) => {}
            Err(_) => self.machine.client_closed(id),
        }
    }

    fn act(&mut self) -> Option<End> {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::SendAgent(bytes) => self.outgoing.extend_from_slice(&bytes),
                Action::SendClient(id, bytes) => self.send_client(id, &bytes),
                Action::CloseClient(id, fault) => {
                    self.clients.remove(&id);
                    if let Some(fault) = fault {
                        log::warn!("closed the connection of a client: {fault}");
                    }
                }
                Action::OpenDoor => match Door::open(self.options) {
                    Ok(door) => {
                        self.door = Some(door);
                        self.deadline = None;
                        self.on_ready.take().into_iter().for_each(|on_ready| on_ready());
                    }
                    Err(error) => return Some(End::Door(self.options.socket_dir.clone(), error)),
                },
                Action::CloseDoor => {
                    self.door = None;
                    log::info!("the agent of {} is gone; waiting for its successor", self.options.name);
                }
                Action::Reconnect => self.seek_agent(),
                Action::Begin(id, trigger) => Desk::begin(&self.desk, id, trigger, &self.outbox),
                Action::Refused(why) => log::warn!("refused a request of {}: {why}", self.options.name),
                Action::Stop(fault) => return Some(End::Agent(fault)),
            }
        }
        None
    }

    fn send_client(&mut self, id: ClientId, bytes: &[u8]) {
        let Some(mut client) = self.clients.get(&id) else { return };
        // 16 bytes at most for a socket that has taken 12 before: what does not fit now never will.
        if !matches!(client.write(bytes), Ok(count) if count == bytes.len()) {
            self.machine.client_closed(id);
        }
    }

    fn seek_agent(&self) {
        self.seek_agent_after(Duration::ZERO);
    }

    fn seek_agent_after(&self, pause: Duration) {
        let (config, peer, outbox) = (self.vchan.clone(), self.options.domain, self.outbox.clone());
        let search = move || {
            thread::sleep(pause);
            outbox.send(Mail::Agent(Vchan::connect(&config, peer, CONTROL_PORT, None)));
        };
        if let Err(error) = thread::Builder::new().name("agent-seeker".to_owned()).spawn(search) {
            self.outbox.send(Mail::Agent(Err(error)));
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// One read; larger than any message.
const READ: usize = 128 * 1024;
/// With this much waiting for the agent, clients wait, too.
const DEAF_TO_CLIENTS: usize = 64 * 1024;
/// With this much waiting for an agent that does not read, its own messages wait: each costs at most 40 bytes.
const DEAF_TO_AGENT: usize = 1024 * 1024;
/// How long a peer may take to see that it is over.
const PARTING: Duration = Duration::from_millis(100);
/// Before another attempt to connect or to accept after one that failed.
const PAUSE: Duration = Duration::from_secs(1);
const CONTROL_PORT: u16 = 512;
