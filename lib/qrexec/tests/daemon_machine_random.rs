//! The rules of the daemon under events in any order: no port twice, every request answered once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use qrexec::daemon::machine::{Action, Destination, Machine};
use qrexec::daemon::{ClientId, RequestId};
use std::collections::{BTreeMap, BTreeSet};

const OWN: u32 = 5;
const SERVICE_CONNECT: u32 = 0x202;
const SERVICE_REFUSED: u32 = 0x203;
const HELLO: u32 = 0x300;

#[derive(Debug, Clone)]
enum Step {
    Trigger { ident: u8, fit: bool },
    Terminated { peer: u32, slot: u32 },
    Connect,
    Client { which: usize, what: Said },
    Closed { which: usize },
    Allowed { which: usize, dom0: bool, port: u32 },
    Ended { which: usize },
    AgentGone,
}

#[derive(Debug, Clone)]
enum Said {
    Hello,
    Exec { peer: u32, given: bool },
    Connect { ident: u8, given: bool },
    Bytes(Vec<u8>),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => Just(Said::Hello),
        4 => (0u32..9, any::<bool>()).prop_map(|(peer, given)| Said::Exec { peer, given }),
        4 => (0u8..4, any::<bool>()).prop_map(|(ident, given)| Said::Connect { ident, given }),
        1 => proptest::collection::vec(any::<u8>(), 1..20).prop_map(Said::Bytes),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4, proptest::bool::weighted(0.9)).prop_map(|(ident, fit)| Step::Trigger { ident, fit }),
        4 => (0u32..9, 0u32..24).prop_map(|(peer, slot)| Step::Terminated { peer, slot }),
        4 => Just(Step::Connect),
        12 => (any::<usize>(), said()).prop_map(|(which, what)| Step::Client { which, what }),
        2 => any::<usize>().prop_map(|which| Step::Closed { which }),
        6 => (any::<usize>(), any::<bool>(), 500u32..800)
            .prop_map(|(which, dom0, port)| Step::Allowed { which, dom0, port }),
        4 => any::<usize>().prop_map(|which| Step::Ended { which }),
        1 => Just(Step::AgentGone),
    ]
}

/// What the world around the machine knows, independently of it.
struct World {
    machine: Machine,
    clients: Vec<ClientId>,
    next_client: u64,
    requests: Vec<RequestId>,
    /// Triggers without an answer, by id.
    waiting: BTreeMap<Vec<u8>, usize>,
    /// Ports in use and the peer they were given for.
    ports: BTreeMap<u32, u32>,
    closed: BTreeSet<ClientId>,
    stopped: bool,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            machine: Machine::new(OWN, "user"),
            clients: Vec::new(),
            next_client: 0,
            requests: Vec::new(),
            waiting: BTreeMap::new(),
            ports: BTreeMap::new(),
            closed: BTreeSet::new(),
            stopped: false,
        };
        world.agent_arrives();
        world
    }

    fn agent_arrives(&mut self) {
        self.machine.agent_connected();
        self.machine.agent_sent(&message(HELLO, &4u32.to_ne_bytes()));
        self.settle(None);
    }

    fn step(&mut self, step: Step) {
        let mut given = None;
        match step {
            Step::Trigger { ident, fit } => {
                let ident = [b'a' + ident];
                *self.waiting.entry(ident.to_vec()).or_default() += 1;
                self.machine.agent_sent(&trigger(&ident, if fit { b"s+a\0" } else { b"s\0\0" }));
            }
            Step::Terminated { peer, slot } => {
                let port = 513 + slot;
                if self.ports.get(&port) == Some(&peer) {
                    self.ports.remove(&port);
                }
                self.machine.agent_sent(&message(0x211, &params(peer, port, b"")));
            }
            Step::Connect => {
                let id = ClientId(self.next_client);
                self.next_client += 1;
                if self.machine.has_room() {
                    self.clients.push(id);
                    self.machine.client_connected(id);
                }
            }
            Step::Client { which, what } => {
                let Some(id) = pick(&self.clients, which) else { return };
                let bytes = match what {
                    Said::Hello => message(HELLO, &3u32.to_ne_bytes()),
                    Said::Exec { peer, given: false } => {
                        given = Some(peer);
                        message(0x200, &params(peer, 0, b"u:a\0"))
                    }
                    Said::Exec { peer, given: true } => message(0x201, &params(peer, 700, b"u:a\0")),
                    Said::Connect { ident, given: port } => {
                        given = Some(3);
                        message(SERVICE_CONNECT, &params(3, if port { 600 } else { 0 }, &[b'a' + ident, 0]))
                    }
                    Said::Bytes(bytes) => bytes,
                };
                self.machine.client_sent(id, &bytes);
            }
            Step::Closed { which } => {
                let Some(id) = pick(&self.clients, which) else { return };
                self.machine.client_closed(id);
            }
            Step::Allowed { which, dom0, port } => {
                let Some(id) = pick(&self.requests, which) else { return };
                let to = if dom0 { Destination::Dom0 } else { Destination::Qube { domain: 9, port } };
                if let Some(port) = self.machine.connect(id, to) {
                    if dom0 {
                        assert_eq!(self.ports.insert(port, 0), None, "port {port} given twice");
                    }
                }
            }
            Step::Ended { which } => {
                let Some(id) = pick(&self.requests, which) else { return };
                self.requests.retain(|&other| other != id);
                self.machine.ended(id);
            }
            Step::AgentGone => {
                self.waiting.clear();
                self.machine.agent_lost();
                self.settle(None);
                assert!(self.clients.is_empty(), "clients of a lost agent stay open");
                return self.agent_arrives();
            }
        }
        self.settle(given);
    }

    /// Takes all actions and checks each against what the world knows. `peer` is the one that a port now given is for.
    fn settle(&mut self, peer: Option<u32>) {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::SendAgent(bytes) => self.agent_hears(&bytes),
                Action::SendClient(id, bytes) => {
                    assert!(self.clients.contains(&id) && !self.closed.contains(&id));
                    if number(&bytes, 0) != HELLO {
                        let port = number(&bytes, 12);
                        assert_eq!(number(&bytes, 8), OWN);
                        assert_eq!(self.ports.insert(port, peer.unwrap()), None, "port {port} given twice");
                    }
                }
                Action::CloseClient(id, _) => {
                    assert!(self.closed.insert(id), "closed twice");
                    self.clients.retain(|&other| other != id);
                }
                Action::Begin(id, _) => self.requests.push(id),
                Action::Stop(_) => self.stopped = true,
                Action::OpenDoor | Action::CloseDoor | Action::Reconnect | Action::Refused(_) => {}
            }
        }
    }

    fn agent_hears(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= 4096 + 8);
        assert_eq!(number(bytes, 4) as usize, bytes.len() - 8);
        let ident = match number(bytes, 0) {
            SERVICE_CONNECT => &bytes[16..],
            SERVICE_REFUSED => &bytes[8..],
            _ => return,
        };
        let ident: Vec<u8> = ident.iter().copied().take_while(|&byte| byte != 0).collect();
        let waiting = self.waiting.get_mut(&ident).expect("an answer to a request of this agent");
        *waiting = waiting.checked_sub(1).expect("one answer for one request");
    }

    fn end(mut self) {
        while let Some(id) = self.requests.pop() {
            self.machine.ended(id);
            self.settle(None);
        }
        assert_eq!(self.machine.requests(), 0);
        assert!(self.waiting.values().all(|&count| count == 0), "requests without an answer");
        assert!(!self.stopped, "nothing here is the agent's fault");
    }
}

fn pick<T: Copy>(list: &[T], which: usize) -> Option<T> {
    list.get(which.checked_rem(list.len())?).copied()
}

fn number(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().unwrap())
}

fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    [&kind.to_ne_bytes(), &u32::try_from(body.len()).unwrap().to_ne_bytes(), body].concat()
}

fn params(domain: u32, port: u32, text: &[u8]) -> Vec<u8> {
    [&domain.to_ne_bytes(), &port.to_ne_bytes(), text].concat()
}

fn trigger(ident: &[u8], service: &[u8]) -> Vec<u8> {
    let mut body = vec![0; 160];
    body[128..128 + ident.len()].copy_from_slice(ident);
    body.extend_from_slice(service);
    message(0x213, &body)
}

proptest! {
    #[test]
    fn no_port_twice_and_every_request_answered_once(steps in proptest::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.end();
    }

    /// Whatever the agent sends, the machine neither panics nor asks for more than the protocol's limits.
    #[test]
    fn garbage_of_the_agent_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..4000), chunk in 1usize..500) {
        let mut machine = Machine::new(OWN, "user");
        machine.agent_connected();
        machine.agent_sent(&message(HELLO, &4u32.to_ne_bytes()));
        for part in bytes.chunks(chunk) {
            machine.agent_sent(part);
            while machine.next_action().is_some() {}
        }
        machine.agent_lost();
    }
}
