//! The rules of a daemon, as a machine that sees no descriptor: what peers did goes in, what to do comes out.

use super::faults::{AgentFault, ClientFault, Refusal};
use super::inbox::{Inbox, array};
use super::ports::Ports;
use super::requests::Requests;
use super::trigger::Trigger;
use super::{ClientId, RequestId};
use qubes_qrexec_sys::layout::text as until_nul;
use qubes_qrexec_sys::limit::{
    CLIENT_BODY, CLIENT_PROTOCOL_VERSION, CONTROL_RING, OLDEST_CLIENT_VERSION, OLDEST_VERSION,
    PROTOCOL_VERSION, SHORTEST_EXEC_BODY, SLOTS, TRIGGER3_BODY, TRIGGER4_BODY, is_data_port,
};
use qubes_qrexec_sys::message_type::{
    CONNECTION_TERMINATED, EXEC_CMDLINE, HELLO, JUST_EXEC, SERVICE_CONNECT, SERVICE_REFUSED, TRIGGER_SERVICE,
    TRIGGER_SERVICE3, TRIGGER_SERVICE4,
};
use qubes_qrexec_sys::{
    ExecParams, Header, Ident, PeerInfo, TriggerService2, TriggerService3, TriggerService4,
};
use std::collections::{BTreeMap, VecDeque};

/// What the driver has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to the agent, all of them.
    SendAgent(Vec<u8>),
    /// Send these bytes to a client; at most 16, so a socket that does not take them at once is broken.
    SendClient(ClientId, Vec<u8>),
    /// Close this client's socket. It is forgotten already.
    CloseClient(ClientId, Option<ClientFault>),
    /// HELLO is done: make the sockets by which clients reach this daemon.
    OpenDoor,
    /// The agent is gone: remove these sockets.
    CloseDoor,
    /// The agent is gone: connect to its successor, without a limit of time.
    Reconnect,
    /// Decide about a request of the qube and carry it out; then tell [`Machine::ended`].
    Begin(RequestId, Trigger),
    /// A request was refused at once. For the log.
    Refused(Refusal),
    /// The agent broke the protocol: end this daemon.
    Stop(AgentFault),
}

/// Where the service of a request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// In dom0; the port is still to be taken.
    Dom0,
    /// In another qube, whose daemon has given out this port.
    Qube {
        /// That qube's domain id.
        domain: u32,
        /// The data port.
        port: u32,
    },
}

/// All that one daemon knows. See the module's page for the numbers.
#[derive(Debug)]
pub struct Machine {
    own: u32,
    default_user: Vec<u8>,
    agent: Agent,
    clients: BTreeMap<ClientId, Client>,
    ports: Ports,
    requests: Requests,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum Agent {
    Away,
    Hello(Inbox),
    Up { version: u32, inbox: Inbox },
    Stopped,
}

#[derive(Debug, Default)]
struct Client {
    stage: Stage,
    inbox: Inbox,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Hello,
    Command,
    Running,
}

impl Machine {
    /// The daemon of the qube with domain id `own`, not yet connected to its agent. `default_user` replaces `DEFAULT`
    /// in front of a client's command.
    #[must_use]
    pub fn new(own: u32, default_user: &str) -> Self {
        Self {
            own,
            default_user: default_user.as_bytes().to_vec(),
            agent: Agent::Away,
            clients: BTreeMap::new(),
            ports: Ports::new(own),
            requests: Requests::default(),
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The control vchan is connected.
    pub fn agent_connected(&mut self) {
        if matches!(self.agent, Agent::Away) {
            self.agent = Agent::Hello(Inbox::default());
        }
    }

    /// Bytes came from the agent.
    pub fn agent_sent(&mut self, bytes: &[u8]) {
        match &mut self.agent {
            Agent::Away | Agent::Stopped => return,
            Agent::Hello(inbox) | Agent::Up { inbox, .. } => inbox.push(bytes),
        }
        loop {
            match self.agent_message() {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => return self.stop(fault),
            }
        }
    }

    /// The control vchan is closed, and all bytes that came before were handed in.
    pub fn agent_lost(&mut self) {
        match self.agent {
            Agent::Away | Agent::Stopped => {}
            Agent::Hello(_) => self.stop(AgentFault::LostBeforeHello),
            Agent::Up { .. } => {
                self.agent = Agent::Away;
                self.actions.push_back(Action::CloseDoor);
                self.close_all_clients();
                // Its requests get no answer any more; ports stay in use, as nobody will tell when they are free.
                self.requests.orphan_all();
                self.actions.push_back(Action::Reconnect);
            }
        }
    }

    /// Whether one more client may be accepted: the agent is there and fewer than [`CLIENTS`] are connected.
    #[must_use]
    pub fn has_room(&self) -> bool {
        matches!(self.agent, Agent::Up { .. }) && self.clients.len() < CLIENTS
    }

    /// A client has connected. `id` must not have been used before.
    pub fn client_connected(&mut self, id: ClientId) {
        if !self.has_room() {
            return self.actions.push_back(Action::CloseClient(id, None));
        }
        self.clients.insert(id, Client::default());
        let hello = message(HELLO, &PeerInfo { version: CLIENT_PROTOCOL_VERSION }.to_bytes());
        self.actions.push_back(Action::SendClient(id, hello));
    }

    /// Bytes came from a client.
    pub fn client_sent(&mut self, id: ClientId, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.inbox.push(bytes);
        loop {
            match self.client_message(id) {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => return self.close_client(id, Some(fault)),
            }
        }
    }

    /// A client has closed its socket. The call it started goes on; only its notice of the end is cancelled.
    pub fn client_closed(&mut self, id: ClientId) {
        if self.clients.contains_key(&id) {
            self.close_client(id, None);
        }
    }

    /// A request is allowed: tells the agent where its call is connected. Gives the data port; `None` when the request
    /// needs no answer any more (the agent is gone, someone else has answered) or there is no port for it.
    pub fn connect(&mut self, id: RequestId, to: Destination) -> Option<u32> {
        if !self.requests.is_open(id) {
            return None;
        }
        let (domain, port) = match to {
            Destination::Dom0 => (0, self.ports.allocate(0, None)?),
            Destination::Qube { domain, port } if is_data_port(port) => (domain, port),
            Destination::Qube { .. } => return None,
        };
        let ident = self.requests.answer(id)?;
        self.send_agent(SERVICE_CONNECT, &exec_body(domain, port, &ident.0));
        Some(port)
    }

    /// A request has ended, well or badly. One that was never answered is refused now.
    pub fn ended(&mut self, id: RequestId) {
        if let Some(ident) = self.requests.end(id) {
            self.refuse(&ident);
        }
    }

    /// Requests under way, those included whose service runs in dom0.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    fn agent_message(&mut self) -> Result<bool, AgentFault> {
        let (version, inbox) = match &mut self.agent {
            Agent::Away | Agent::Stopped => return Ok(false),
            Agent::Hello(inbox) => (None, inbox),
            Agent::Up { version, inbox } => (Some(*version), inbox),
        };
        let Some(claim) = inbox.claim() else { return Ok(false) };
        let len = match version {
            None => hello_length(claim),
            Some(version) => agent_length(claim, version),
        }?;
        let Some(body) = inbox.take(len) else { return Ok(false) };
        match version {
            None => self.agent_hello(&body)?,
            Some(_) => self.agent_command(claim.kind, &body)?,
        }
        Ok(true)
    }

    fn agent_hello(&mut self, body: &[u8]) -> Result<(), AgentFault> {
        let theirs = peer_version(body);
        let version = theirs.min(PROTOCOL_VERSION);
        if version < OLDEST_VERSION {
            return Err(AgentFault::Version(theirs));
        }
        let Agent::Hello(inbox) = &mut self.agent else { return Ok(()) };
        self.agent = Agent::Up { version, inbox: std::mem::take(inbox) };
        self.send_agent(HELLO, &PeerInfo { version }.to_bytes());
        self.actions.push_back(Action::OpenDoor);
        Ok(())
    }

    fn agent_command(&mut self, kind: u32, body: &[u8]) -> Result<(), AgentFault> {
        let trigger = match kind {
            CONNECTION_TERMINATED => return self.connection_terminated(body),
            TRIGGER_SERVICE => Trigger::from_v2(body),
            TRIGGER_SERVICE3 => Trigger::from_v3(body),
            _ => Trigger::from_v4(body),
        };
        match trigger {
            Ok(trigger) => match self.requests.open(trigger.ident) {
                Some(id) => self.actions.push_back(Action::Begin(id, trigger)),
                None => self.refuse_at_once(&trigger.ident, Refusal::TooMany),
            },
            Err((ident, unfit)) => self.refuse_at_once(&ident, Refusal::Unfit(unfit)),
        }
        Ok(())
    }

    fn connection_terminated(&mut self, body: &[u8]) -> Result<(), AgentFault> {
        let ExecParams { connect_domain: peer, connect_port: port } = exec_params(body);
        if !is_data_port(port) {
            return Err(AgentFault::Port(port));
        }
        if let Some(client) = self.ports.release(port, peer) {
            self.close_client(client, None);
        }
        Ok(())
    }

    fn client_message(&mut self, id: ClientId) -> Result<bool, ClientFault> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(false) };
        if client.stage == Stage::Running {
            return if client.inbox.is_empty() { Ok(false) } else { Err(ClientFault::Talkative) };
        }
        let Some(claim) = client.inbox.claim() else { return Ok(false) };
        let len = client_length(claim, client.stage)?;
        let Some(body) = client.inbox.take(len) else { return Ok(false) };
        if client.stage == Stage::Hello {
            match peer_version(&body) {
                version if version < OLDEST_CLIENT_VERSION => return Err(ClientFault::Version(version)),
                _ => client.stage = Stage::Command,
            }
        } else {
            client.stage = Stage::Running;
            self.command(id, claim.kind, &body)?;
        }
        Ok(true)
    }

    fn command(&mut self, id: ClientId, kind: u32, body: &[u8]) -> Result<(), ClientFault> {
        let ExecParams { connect_domain: peer, connect_port: wished } = exec_params(body);
        let text = body.get(ExecParams::SIZE..).unwrap_or_default();
        if text.last() != Some(&0) {
            return Err(ClientFault::Termination);
        }
        let text = self.with_default_user(kind, text);
        if ExecParams::SIZE + text.len() > CONTROL_RING {
            return Err(ClientFault::Ring(ExecParams::SIZE + text.len()));
        }
        if wished != 0 && !is_data_port(wished) {
            return Err(ClientFault::Port(wished));
        }
        let is_connect = kind == SERVICE_CONNECT;
        if is_connect && !self.requests.is_open_by_text(until_nul(&text)) {
            return Err(ClientFault::NoRequest);
        }
        let port = match wished {
            0 => self.ports.allocate(peer, Some(id)).ok_or(ClientFault::NoPort)?,
            port => port,
        };
        if is_connect {
            // Only now that nothing can fail any more: a request marked answered without an answer would never end.
            self.requests.answer_by_text(until_nul(&text));
        }
        if wished == 0 {
            let reply = message(kind, &exec_body(self.own, port, &[]));
            self.actions.push_back(Action::SendClient(id, reply));
        }
        self.send_agent(kind, &exec_body(peer, port, &text));
        Ok(())
    }

    fn with_default_user(&self, kind: u32, text: &[u8]) -> Vec<u8> {
        match text.strip_prefix(b"DEFAULT:") {
            Some(rest) if kind != SERVICE_CONNECT => [&self.default_user, b":".as_slice(), rest].concat(),
            _ => text.to_vec(),
        }
    }

    fn refuse_at_once(&mut self, ident: &Ident, why: Refusal) {
        self.actions.push_back(Action::Refused(why));
        self.refuse(ident);
    }

    fn refuse(&mut self, ident: &Ident) {
        self.send_agent(SERVICE_REFUSED, &ident.0);
    }

    fn send_agent(&mut self, kind: u32, body: &[u8]) {
        self.actions.push_back(Action::SendAgent(message(kind, body)));
    }

    fn close_client(&mut self, id: ClientId, fault: Option<ClientFault>) {
        self.clients.remove(&id);
        self.ports.cancel_notice(id);
        self.actions.push_back(Action::CloseClient(id, fault));
    }

    fn close_all_clients(&mut self) {
        while let Some((&id, _)) = self.clients.first_key_value() {
            self.close_client(id, None);
        }
    }

    fn stop(&mut self, fault: AgentFault) {
        self.agent = Agent::Stopped;
        self.close_all_clients();
        self.requests.orphan_all();
        self.actions.push_back(Action::Stop(fault));
    }
}

fn hello_length(claim: Header) -> Result<usize, AgentFault> {
    match claim {
        Header { kind: HELLO, len: 4 } => Ok(PeerInfo::SIZE),
        Header { kind, len } => Err(AgentFault::Hello { kind, len }),
    }
}

/// The table of spec/qrexec-wire.md 2.2.
fn agent_length(Header { kind, len }: Header, version: u32) -> Result<usize, AgentFault> {
    let length = usize::try_from(len).unwrap_or(usize::MAX);
    let fits = match (kind, version) {
        (TRIGGER_SERVICE, 2) => length == TriggerService2::SIZE,
        (TRIGGER_SERVICE3, 3 | 4) => length > TriggerService3::SIZE && len <= TRIGGER3_BODY,
        (TRIGGER_SERVICE4, 4) => length > TriggerService4::SIZE && len <= TRIGGER4_BODY,
        (CONNECTION_TERMINATED, _) => length == ExecParams::SIZE,
        _ => return Err(AgentFault::Kind { kind, version }),
    };
    if fits { Ok(length) } else { Err(AgentFault::Length { kind, len }) }
}

/// The table of spec/qrexec-wire.md, section 4.
fn client_length(Header { kind, len }: Header, stage: Stage) -> Result<usize, ClientFault> {
    match (stage, kind) {
        (Stage::Hello, HELLO) if len == 4 => return Ok(PeerInfo::SIZE),
        (Stage::Hello, _) => return Err(ClientFault::Hello { kind, len }),
        (_, EXEC_CMDLINE | JUST_EXEC | SERVICE_CONNECT) => {}
        _ => return Err(ClientFault::Kind(kind)),
    }
    match usize::try_from(len) {
        Ok(length) if (SHORTEST_EXEC_BODY..=CLIENT_BODY).contains(&len) => Ok(length),
        _ => Err(ClientFault::Length(len)),
    }
}

fn peer_version(body: &[u8]) -> u32 {
    PeerInfo::from_bytes(array(body)).version
}

fn exec_params(body: &[u8]) -> ExecParams {
    ExecParams::from_bytes(array(body))
}

fn exec_body(connect_domain: u32, connect_port: u32, text: &[u8]) -> Vec<u8> {
    [&ExecParams { connect_domain, connect_port }.to_bytes()[..], text].concat()
}

fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    // Every body here is shorter than 2^16, so the length is never cut.
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&Header { kind, len }.to_bytes()[..], body].concat()
}

/// Most clients at a time; further ones wait to be accepted.
pub const CLIENTS: usize = SLOTS;
