//! The agent's protocol: messages and events in, actions out; no descriptor, no clock (spec/qrexec-wire.md 2 and 8).

use super::requests::{RequestId, Requests, Step};
use crate::wire::{Channel, Decoder, Exec, Message, WireError, agree, limit};
use names::printable;
use qubes_qrexec_sys::ExecParams;

/// The agent's side of the control channel.
#[derive(Debug)]
pub(super) struct Core {
    decoder: Decoder,
    requests: Requests,
}

/// What the driver is to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Send these bytes to the daemon: one message.
    Send(Vec<u8>),
    /// The daemon is there: open the trigger socket and say that we are ready.
    Ready,
    /// Serve a call.
    Serve(Call),
    /// Tell a local program where its data channel is.
    Answer(RequestId, [u8; ExecParams::SIZE]),
    /// Close the connection of a local program.
    Close(RequestId),
}

/// A call that the daemon wants served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// JUST_EXEC: start it, report that, and be done.
    pub(super) detached: bool,
    /// Domain and port of the caller's end of the data channel.
    pub(super) peer: ExecParams,
    /// `USER:COMMAND`.
    pub(super) text: Vec<u8>,
}

impl Core {
    pub(super) fn new() -> Self {
        Self { decoder: Decoder::new(Channel::Hello), requests: Requests::default() }
    }

    /// What to do first, before anybody is connected.
    pub(super) fn start() -> Action {
        send(&Message::Hello { version: limit::PROTOCOL_VERSION })
    }

    /// Bytes of the daemon. After an error the agent has to end.
    pub(super) fn daemon_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Action>, WireError> {
        self.decoder.push(bytes);
        let mut actions = Vec::new();
        while let Some(message) = self.decoder.next()? {
            match message {
                Message::Hello { version } => {
                    // Versions 2 and 3 differ from 4 in nothing that a daemon may send, and requests go out in the
                    // form of version 4 in any case, as upstream's agent has it (2.2).
                    agree(version)?;
                    self.decoder.switch(Channel::DaemonToAgent);
                    actions.push(Action::Ready);
                }
                Message::ExecCmdline(exec) => actions.push(serve(false, &exec)),
                Message::JustExec(exec) => actions.push(serve(true, &exec)),
                Message::ServiceConnect(exec) => {
                    actions.extend(self.connect(exec.command_text(), peer(&exec)));
                }
                Message::ServiceRefused(ident) => actions.extend(self.refuse(ident.text())),
                // The channel lets no other message through.
                _ => {}
            }
        }
        Ok(actions)
    }

    fn connect(&mut self, ident: &[u8], peer: ExecParams) -> Vec<Action> {
        match RequestId::parse(ident).map(|id| (id, self.requests.connect(id, peer))) {
            Some((id, Step::Go)) => vec![Action::Answer(id, peer.to_bytes())],
            Some((_, Step::Over)) => vec![terminated(peer)],
            Some((_, Step::Unknown)) | None => {
                log::error!("the daemon connects the unknown request \"{}\": ignored", printable(ident));
                Vec::new()
            }
        }
    }

    fn refuse(&mut self, ident: &[u8]) -> Vec<Action> {
        match RequestId::parse(ident).map(|id| (id, self.requests.refuse(id))) {
            Some((id, Step::Go)) => vec![Action::Close(id)],
            Some((_, Step::Over)) => Vec::new(),
            Some((_, Step::Unknown)) | None => {
                log::warn!("the daemon refuses the unknown request \"{}\": ignored", printable(ident));
                Vec::new()
            }
        }
    }

    /// A local program has connected. To make room, one that has not yet said what it wants may have to go.
    pub(super) fn local_connected(&mut self) -> (RequestId, Vec<Action>) {
        let (id, evicted) = self.requests.open();
        (id, evicted.map(Action::Close).into_iter().collect())
    }

    /// Whether one more local program could be taken.
    pub(super) fn has_room(&self) -> bool {
        self.requests.has_room()
    }

    /// Whether to read what a local program sends. While the daemon is being asked nothing may come, and a program that
    /// has shut down its writing side still waits for the answer.
    pub(super) fn is_heard(&self, id: RequestId) -> bool {
        self.requests.is_heard(id)
    }

    /// Bytes of a local program.
    pub(super) fn local_bytes(&mut self, id: RequestId, bytes: &[u8]) -> Vec<Action> {
        match self.requests.bytes(id, bytes) {
            Ok(Some(request)) => vec![send(&request)],
            Ok(None) => Vec::new(),
            Err(cause) => {
                log::error!("request of a local program: {cause}; closing its connection");
                self.close(id)
            }
        }
    }

    /// A local program has closed its connection, or it broke.
    pub(super) fn local_closed(&mut self, id: RequestId) -> Vec<Action> {
        self.close(id)
    }

    fn close(&mut self, id: RequestId) -> Vec<Action> {
        let ended = self.requests.close(id).map(terminated);
        [Action::Close(id)].into_iter().chain(ended).collect()
    }

    /// A call that [`Action::Serve`] had started is over.
    pub(super) fn call_ended(peer: ExecParams) -> Action {
        terminated(peer)
    }
}

fn serve(detached: bool, exec: &Exec) -> Action {
    Action::Serve(Call { detached, peer: peer(exec), text: exec.command_text().to_vec() })
}

fn peer(exec: &Exec) -> ExecParams {
    ExecParams { connect_domain: exec.domain, connect_port: exec.port }
}

fn terminated(peer: ExecParams) -> Action {
    send(&Message::ConnectionTerminated { domain: peer.connect_domain, port: peer.connect_port })
}

fn send(message: &Message) -> Action {
    Action::Send(message.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::requests::MOST;
    use crate::wire::{Header, Ident, Trigger, message_type};
    use proptest::prelude::*;

    const PEER: ExecParams = ExecParams { connect_domain: 7, connect_port: 514 };

    fn greeted() -> Core {
        let mut core = Core::new();
        assert_eq!(core.daemon_bytes(&Message::Hello { version: 4 }.to_bytes()), Ok(vec![Action::Ready]));
        core
    }

    fn trigger(service: &[u8]) -> Vec<u8> {
        Message::TriggerService4(Trigger::new(b"", b"@dispvm", Ident([b'x'; 32]), service)).to_bytes()
    }

    /// A request that was sent to the daemon, and the ident it carries.
    fn asked(core: &mut Core) -> (RequestId, Ident) {
        let (id, evicted) = core.local_connected();
        assert!(evicted.is_empty());
        let bytes = trigger(b"test.Service");
        let actions = core.local_bytes(id, &bytes);
        let [Action::Send(sent)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((&sent[..8 + 128], &sent[8 + 160..]), (&bytes[..8 + 128], &bytes[8 + 160..]));
        (id, Ident(sent[8 + 128..8 + 160].try_into().unwrap()))
    }

    fn connect(core: &mut Core, ident: Ident) -> Vec<Action> {
        core.daemon_bytes(&Message::ServiceConnect(Exec::request(7, 514, ident)).to_bytes()).unwrap()
    }

    fn refuse(core: &mut Core, ident: Ident) -> Vec<Action> {
        core.daemon_bytes(&Message::ServiceRefused(ident).to_bytes()).unwrap()
    }

    #[test]
    fn hello_comes_first() {
        let exec = Message::ExecCmdline(Exec::command(0, 513, b"user:x")).to_bytes();
        assert!(Core::new().daemon_bytes(&exec).is_err());
        for (version, good) in [(0, false), (1, false), (2, true), (4, true), (99, true)] {
            let answer = Core::new().daemon_bytes(&Message::Hello { version }.to_bytes());
            assert_eq!(answer.is_ok(), good, "{version}");
        }
        let twice = Message::Hello { version: 4 }.to_bytes();
        assert!(greeted().daemon_bytes(&twice).is_err());
    }

    #[test]
    fn a_request_that_is_allowed() {
        let mut core = greeted();
        let (id, ident) = asked(&mut core);
        assert!(ident.text().starts_with(b"SOCKET"));
        assert_eq!(connect(&mut core, ident), [Action::Answer(id, PEER.to_bytes())]);
        assert_eq!(connect(&mut core, ident), [], "answered before");
        assert_eq!(core.local_closed(id), [Action::Close(id), terminated(PEER)]);
        assert_eq!(connect(&mut core, ident), [], "used up");
    }

    #[test]
    fn a_request_that_is_refused() {
        let mut core = greeted();
        let (id, ident) = asked(&mut core);
        assert_eq!(refuse(&mut core, ident), [Action::Close(id)]);
        assert_eq!(refuse(&mut core, ident), []);
        assert_eq!(refuse(&mut core, Ident([b'S'; 32])), []);
    }

    #[test]
    fn a_caller_that_left_before_the_answer_frees_the_port() {
        let mut core = greeted();
        let (id, ident) = asked(&mut core);
        assert_eq!(core.local_closed(id), [Action::Close(id)]);
        assert_eq!(connect(&mut core, ident), [terminated(PEER)]);
        let (id, ident) = asked(&mut core);
        core.local_closed(id);
        assert_eq!(refuse(&mut core, ident), []);
    }

    #[test]
    fn requests_come_in_pieces_and_never_mix() {
        let mut core = greeted();
        let (first, _) = core.local_connected();
        let (second, _) = core.local_connected();
        let bytes = trigger(b"a");
        for byte in &bytes[..bytes.len() - 1] {
            assert_eq!(core.local_bytes(first, &[*byte]), []);
            assert_eq!(core.local_bytes(second, &[*byte]), []);
        }
        assert_eq!(core.local_bytes(second, b"\0").len(), 1);
        assert_eq!(core.local_bytes(first, b"\0").len(), 1);
    }

    #[test]
    fn bad_requests_are_closed() {
        let mut core = greeted();
        let header = |kind, len| Header { kind, len }.to_bytes().to_vec();
        for bytes in [
            [header(message_type::TRIGGER_SERVICE3, 170), vec![0; 170]].concat(),
            [header(message_type::TRIGGER_SERVICE4, 160), vec![0; 160]].concat(),
            header(message_type::TRIGGER_SERVICE4, u32::MAX),
            header(message_type::HELLO, 4),
            trigger(&[b'a'; 3936]),
            [trigger(b"a"), b"more".to_vec()].concat(),
        ] {
            let (id, _) = core.local_connected();
            assert_eq!(core.local_bytes(id, &bytes), [Action::Close(id)]);
        }
        let (id, _) = core.local_connected();
        assert_eq!(core.local_bytes(id, &trigger(&[b'a'; 3935])).len(), 1);
        let (id, _) = asked(&mut core);
        assert_eq!(core.local_bytes(id, b"more"), [Action::Close(id)]);
    }

    #[test]
    fn calls() {
        let mut core = greeted();
        let mut exec = Exec::command(7, 514, b"user:QUBESRPC a+ b\0c");
        let call = Call { detached: false, peer: PEER, text: b"user:QUBESRPC a+ b".to_vec() };
        let both = [Message::ExecCmdline(exec.clone()), Message::JustExec(exec.clone())];
        let bytes: Vec<u8> = both.iter().flat_map(Message::to_bytes).collect();
        let expected = [Action::Serve(call.clone()), Action::Serve(Call { detached: true, ..call })];
        assert_eq!(core.daemon_bytes(&bytes).unwrap(), expected);
        exec.text = b"x".to_vec();
        let Action::Serve(call) = core.daemon_bytes(&Message::JustExec(exec).to_bytes()).unwrap().remove(0)
        else {
            panic!()
        };
        assert_eq!(call.text, b"", "the last byte counts as NUL");
        for (kind, len) in [(message_type::JUST_EXEC, 8), (message_type::SERVICE_REFUSED, 31), (0x190, 0)] {
            assert!(greeted().daemon_bytes(&Header { kind, len }.to_bytes()).is_err(), "{kind:#x} {len}");
        }
    }

    #[test]
    fn a_crowd_of_silent_programs_does_not_lock_others_out() {
        let mut core = greeted();
        let (waiting, _) = asked(&mut core);
        let silent: Vec<_> = (1..MOST).map(|_| core.local_connected().0).collect();
        assert!(core.has_room(), "silent ones make room");
        assert_eq!(core.local_connected().1, [Action::Close(silent[0])]);
        assert_eq!(core.local_closed(waiting), [Action::Close(waiting)]);
        for id in &silent[1..] {
            core.local_bytes(*id, &trigger(b"a"));
        }
        core.local_connected();
        while core.has_room() {
            let (id, _) = core.local_connected();
            core.local_bytes(id, &trigger(b"a"));
        }
    }

    proptest! {
        /// In whatever order events come, the agent does what a model of four states does.
        #[test]
        fn no_port_is_lost_and_no_answer_is_stray(events in proptest::collection::vec((0u8..5, 0usize..8), 0..120)) {
            #[derive(Clone, Copy, PartialEq)]
            enum Model { Asked, Left, Connected(ExecParams), Done }
            let mut core = greeted();
            let mut requests: Vec<(RequestId, Ident, Model)> = Vec::new();
            for (port, (event, which)) in (513..).zip(events) {
                let peer = ExecParams { connect_domain: 7, connect_port: port };
                if event == 0 {
                    let (id, ident) = asked(&mut core);
                    requests.push((id, ident, Model::Asked));
                    continue;
                }
                let Some((id, ident, model)) = requests.get_mut(which) else { continue };
                let (got, expected, next) = match event {
                    1 | 2 => {
                        let exec = Exec::request(7, port, *ident);
                        let got = core.daemon_bytes(&Message::ServiceConnect(exec).to_bytes()).unwrap();
                        match *model {
                            Model::Asked => (got, vec![Action::Answer(*id, peer.to_bytes())], Model::Connected(peer)),
                            Model::Left => (got, vec![terminated(peer)], Model::Done),
                            other => (got, vec![], other),
                        }
                    }
                    3 => match *model {
                        Model::Asked => (refuse(&mut core, *ident), vec![Action::Close(*id)], Model::Done),
                        Model::Left => (refuse(&mut core, *ident), vec![], Model::Done),
                        other => (refuse(&mut core, *ident), vec![], other),
                    },
                    _ => match *model {
                        Model::Asked => (core.local_closed(*id), vec![Action::Close(*id)], Model::Left),
                        Model::Connected(peer) => {
                            (core.local_closed(*id), vec![Action::Close(*id), terminated(peer)], Model::Done)
                        }
                        // The driver has no connection left to report.
                        other => (vec![], vec![], other),
                    },
                };
                prop_assert_eq!(got, expected);
                *model = next;
            }
        }
    }
}
