//! The rules of a daemon, as a machine that sees no descriptor: what peers did goes in, what to do comes out.

use super::faults::{AgentFault, ClientFault, Refusal};
use super::ports::Ports;
use super::requests::Requests;
use super::trigger::{Trigger, Unfit};
use super::{ClientId, RequestId};
use crate::wire::{Channel, Decoder, Exec, Ident, Message, agree, agree_client};
use qubes_qrexec_sys::ExecParams;
use qubes_qrexec_sys::layout::text as until_nul;
use qubes_qrexec_sys::limit::{CLIENT_PROTOCOL_VERSION, CONTROL_RING, SLOTS, is_data_port};
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
    Hello(Decoder),
    Up(Decoder),
    Stopped,
}

#[derive(Debug)]
struct Client {
    /// Its command has been carried out; all that may still come is its end.
    is_running: bool,
    decoder: Decoder,
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
            self.agent = Agent::Hello(Decoder::new(Channel::Hello));
        }
    }

    /// Bytes came from the agent.
    pub fn agent_sent(&mut self, bytes: &[u8]) {
        match &mut self.agent {
            Agent::Away | Agent::Stopped => return,
            Agent::Hello(decoder) | Agent::Up(decoder) => decoder.push(bytes),
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
            Agent::Up(_) => {
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
        matches!(self.agent, Agent::Up(_)) && self.clients.len() < CLIENTS
    }

    /// A client has connected. `id` must not have been used before.
    pub fn client_connected(&mut self, id: ClientId) {
        if !self.has_room() {
            return self.actions.push_back(Action::CloseClient(id, None));
        }
        self.clients.insert(id, Client { is_running: false, decoder: Decoder::new(Channel::Hello) });
        let hello = Message::Hello { version: CLIENT_PROTOCOL_VERSION };
        self.actions.push_back(Action::SendClient(id, hello.to_bytes()));
    }

    /// Bytes came from a client.
    pub fn client_sent(&mut self, id: ClientId, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.decoder.push(bytes);
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
        self.send_agent(&Message::ServiceConnect(Exec::request(domain, port, ident)));
        Some(port)
    }

    /// A request has ended, well or badly. One that was never answered is refused now.
    pub fn ended(&mut self, id: RequestId) {
        if let Some(ident) = self.requests.end(id) {
            self.send_agent(&Message::ServiceRefused(ident));
        }
    }

    /// Requests under way, those included whose service runs in dom0.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// Takes one message of the agent; whether there may be more.
    fn agent_message(&mut self) -> Result<bool, AgentFault> {
        let message = match &mut self.agent {
            Agent::Away | Agent::Stopped => None,
            Agent::Hello(decoder) | Agent::Up(decoder) => decoder.next()?,
        };
        match message {
            None => return Ok(false),
            Some(Message::Hello { version }) => self.agent_hello(version)?,
            Some(Message::ConnectionTerminated { domain, port }) => {
                self.connection_terminated(domain, port)?;
            }
            Some(Message::TriggerService2(old)) => self.agent_asks(Trigger::from_v2(&old)),
            Some(Message::TriggerService3(trigger)) => self.agent_asks(Trigger::from_v3(&trigger)),
            Some(Message::TriggerService4(trigger)) => self.agent_asks(Trigger::from_v4(&trigger)),
            // The decoder lets no other type through.
            Some(_) => {}
        }
        Ok(true)
    }

    fn agent_hello(&mut self, theirs: u32) -> Result<(), AgentFault> {
        let version = agree(theirs)?;
        let Agent::Hello(decoder) = &mut self.agent else { return Ok(()) };
        let mut decoder = std::mem::replace(decoder, Decoder::new(Channel::Hello));
        decoder.switch(Channel::AgentToDaemon { version });
        self.agent = Agent::Up(decoder);
        self.send_agent(&Message::Hello { version });
        self.actions.push_back(Action::OpenDoor);
        Ok(())
    }

    fn agent_asks(&mut self, trigger: Result<Trigger, (Ident, Unfit)>) {
        match trigger {
            Ok(trigger) => match self.requests.open(trigger.ident) {
                Some(id) => self.actions.push_back(Action::Begin(id, trigger)),
                None => self.refuse_at_once(trigger.ident, Refusal::TooMany),
            },
            Err((ident, unfit)) => self.refuse_at_once(ident, Refusal::Unfit(unfit)),
        }
    }

    fn connection_terminated(&mut self, peer: u32, port: u32) -> Result<(), AgentFault> {
        if !is_data_port(port) {
            return Err(AgentFault::Port(port));
        }
        if let Some(client) = self.ports.release(port, peer) {
            self.close_client(client, None);
        }
        Ok(())
    }

    /// Takes one message of a client; whether there may be more.
    fn client_message(&mut self, id: ClientId) -> Result<bool, ClientFault> {
        let Some(client) = self.clients.get_mut(&id) else { return Ok(false) };
        if client.is_running {
            let silent = client.decoder.is_between_messages();
            return if silent { Ok(false) } else { Err(ClientFault::Talkative) };
        }
        let Some(message) = client.decoder.next()? else { return Ok(false) };
        if let Message::Hello { version } = message {
            agree_client(version)?;
            client.decoder.switch(Channel::ClientToDaemon);
        } else {
            client.is_running = true;
            self.command(id, message)?;
        }
        Ok(true)
    }

    fn command(&mut self, id: ClientId, mut message: Message) -> Result<(), ClientFault> {
        let is_connect = matches!(message, Message::ServiceConnect(_));
        let (Message::ExecCmdline(exec) | Message::JustExec(exec) | Message::ServiceConnect(exec)) =
            &mut message
        else {
            // The decoder lets no other type through.
            return Ok(());
        };
        if !exec.is_terminated() {
            return Err(ClientFault::Termination);
        }
        if !is_connect {
            self.set_default_user(&mut exec.text);
        }
        let body = ExecParams::SIZE + exec.text.len();
        if body > CONTROL_RING {
            return Err(ClientFault::Ring(body));
        }
        if exec.port != 0 && !is_data_port(exec.port) {
            return Err(ClientFault::Port(exec.port));
        }
        if is_connect && !self.requests.is_open_by_text(until_nul(&exec.text)) {
            return Err(ClientFault::NoRequest);
        }
        let port = match exec.port {
            0 => Some(self.ports.allocate(exec.domain, Some(id)).ok_or(ClientFault::NoPort)?),
            _ => None,
        };
        exec.port = port.unwrap_or(exec.port);
        if is_connect {
            // Only now that nothing can fail any more: a request marked answered without an answer would never end.
            self.requests.answer_by_text(until_nul(&exec.text));
        }
        if let Some(port) = port {
            let answer = answer(&message, Exec::answer(self.own, port));
            self.actions.push_back(Action::SendClient(id, answer.to_bytes()));
        }
        self.send_agent(&message);
        Ok(())
    }

    fn set_default_user(&self, text: &mut Vec<u8>) {
        if text.starts_with(b"DEFAULT:") {
            text.splice(..b"DEFAULT".len(), self.default_user.iter().copied());
        }
    }

    fn refuse_at_once(&mut self, ident: Ident, why: Refusal) {
        self.actions.push_back(Action::Refused(why));
        self.send_agent(&Message::ServiceRefused(ident));
    }

    fn send_agent(&mut self, message: &Message) {
        self.actions.push_back(Action::SendAgent(message.to_bytes()));
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

/// An answer has the type of its question.
fn answer(question: &Message, exec: Exec) -> Message {
    match question {
        Message::ExecCmdline(_) => Message::ExecCmdline(exec),
        Message::JustExec(_) => Message::JustExec(exec),
        _ => Message::ServiceConnect(exec),
    }
}

/// Most clients at a time; further ones wait to be accepted.
pub const CLIENTS: usize = SLOTS;
