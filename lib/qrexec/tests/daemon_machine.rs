//! The rules of the daemon, driven without a descriptor (spec/qrexec-wire.md, sections 2, 4, 5 and 6.5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use qrexec::daemon::faults::{AgentFault, ClientFault, Refusal};
use qrexec::daemon::machine::{Action, CLIENTS, Destination, Machine};
use qrexec::daemon::trigger::Unfit;
use qrexec::daemon::{ClientId, RequestId};
use qrexec::wire::WireError;

const OWN: u32 = 42;
const SERVICE_CONNECT: u32 = 0x202;
const SERVICE_REFUSED: u32 = 0x203;
const EXEC_CMDLINE: u32 = 0x200;
const JUST_EXEC: u32 = 0x201;
const HELLO: u32 = 0x300;

fn message(kind: u32, body: &[u8]) -> Vec<u8> {
    [&kind.to_ne_bytes(), &u32::try_from(body.len()).unwrap().to_ne_bytes(), body].concat()
}

fn params(domain: u32, port: u32, text: &[u8]) -> Vec<u8> {
    [&domain.to_ne_bytes(), &port.to_ne_bytes(), text].concat()
}

fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    field[..text.len()].copy_from_slice(text);
    field
}

fn trigger(ident: &[u8], service: &[u8]) -> Vec<u8> {
    let body = [&padded::<64>(b"")[..], &padded::<64>(b"target"), &padded::<32>(ident), service].concat();
    message(0x213, &body)
}

fn drain(machine: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| machine.next_action()).collect()
}

fn with_agent(version: u32) -> Machine {
    let mut machine = Machine::new(OWN, "user");
    machine.agent_connected();
    machine.agent_sent(&message(HELLO, &version.to_ne_bytes()));
    drain(&mut machine);
    machine
}

fn client(machine: &mut Machine, number: u64) -> ClientId {
    let id = ClientId(number);
    machine.client_connected(id);
    machine.client_sent(id, &message(HELLO, &3u32.to_ne_bytes()));
    assert_eq!(drain(machine), [Action::SendClient(id, message(HELLO, &3u32.to_ne_bytes()))]);
    id
}

fn begin(machine: &mut Machine, ident: &[u8]) -> RequestId {
    machine.agent_sent(&trigger(ident, b"test.Service\0"));
    match &drain(machine)[..] {
        [Action::Begin(id, _)] => *id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn hello_answers_with_the_lower_version() {
    for (theirs, ours) in [(2u32, 2u32), (3, 3), (4, 4), (5, 4), (99, 4)] {
        let mut machine = Machine::new(OWN, "user");
        machine.agent_connected();
        let hello = message(HELLO, &theirs.to_ne_bytes());
        for byte in &hello {
            machine.agent_sent(std::slice::from_ref(byte));
        }
        let answer = Action::SendAgent(message(HELLO, &ours.to_ne_bytes()));
        assert_eq!(drain(&mut machine), [answer, Action::OpenDoor]);
    }
}

#[test]
fn hello_that_is_none_ends_the_daemon() {
    for (bytes, fault) in [
        (message(HELLO, &1u32.to_ne_bytes()), WireError::Version { received: 1, oldest: 2 }),
        (message(HELLO, b"abc"), WireError::Length { kind: HELLO, len: 3, least: 4, most: 4 }),
        (message(0x213, b"abcd"), WireError::Kind { channel: "before HELLO", kind: 0x213 }),
        (
            [HELLO.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat(),
            WireError::Length { kind: HELLO, len: u32::MAX, least: 4, most: 4 },
        ),
    ] {
        let mut machine = Machine::new(OWN, "user");
        machine.agent_connected();
        machine.agent_sent(&bytes);
        assert_eq!(drain(&mut machine), [Action::Stop(AgentFault::Wire(fault))]);
    }
}

#[test]
fn messages_that_the_version_does_not_have_end_the_daemon() {
    for (version, kind, len, allowed) in [
        (2, 0x210, 128, true),
        (2, 0x210, 127, false),
        (2, 0x212, 100, false),
        (2, 0x213, 200, false),
        (3, 0x210, 128, false),
        (3, 0x212, 97, true),
        (3, 0x212, 96, false),
        (3, 0x212, 96 + 65_001, false),
        (3, 0x213, 200, false),
        (4, 0x212, 97, true),
        (4, 0x213, 161, true),
        (4, 0x213, 160, false),
        (4, 0x213, 160 + 65_000, true),
        (4, 0x213, 160 + 65_001, false),
        (4, 0x211, 8, true),
        (4, 0x211, 12, false),
        (4, 0x200, 12, false),
        (4, 0x190, 12, false),
        (4, HELLO, 4, false),
    ] {
        let mut machine = with_agent(version);
        machine.agent_sent(&[u32::to_ne_bytes(kind), u32::to_ne_bytes(len)].concat());
        let stopped = drain(&mut machine).iter().any(|action| matches!(action, Action::Stop(_)));
        assert_eq!(stopped, !allowed, "version {version}, type {kind:#x}, {len} bytes");
    }
}

#[test]
fn unfit_triggers_are_refused_and_the_agent_stays() {
    let mut machine = with_agent(4);
    machine.agent_sent(&trigger(b"a\0b", b"s\0"));
    machine.agent_sent(&trigger(b"ok", b"+\0"));
    assert_eq!(
        drain(&mut machine),
        [
            Action::Refused(Refusal::Unfit(Unfit::Ident)),
            Action::SendAgent(message(SERVICE_REFUSED, &padded::<32>(b"a\0b"))),
            Action::Refused(Refusal::Unfit(Unfit::NoName)),
            Action::SendAgent(message(SERVICE_REFUSED, &padded::<32>(b"ok"))),
        ]
    );
    begin(&mut machine, b"ok");
}

#[test]
fn a_request_is_answered_once() {
    let mut machine = with_agent(4);
    let id = begin(&mut machine, b"SOCKET9");
    assert_eq!(machine.connect(id, Destination::Dom0), Some(513));
    let connect = params(0, 513, &padded::<32>(b"SOCKET9"));
    assert_eq!(drain(&mut machine), [Action::SendAgent(message(SERVICE_CONNECT, &connect))]);
    assert_eq!(machine.connect(id, Destination::Dom0), None);
    machine.ended(id);
    machine.ended(id);
    assert_eq!(drain(&mut machine), []);

    let id = begin(&mut machine, b"SOCKET9");
    machine.ended(id);
    machine.ended(id);
    assert_eq!(drain(&mut machine), [Action::SendAgent(message(SERVICE_REFUSED, &padded::<32>(b"SOCKET9")))]);
}

#[test]
fn request_257_is_refused_at_once() {
    let mut machine = with_agent(4);
    let first = begin(&mut machine, b"0");
    for number in 1..256 {
        begin(&mut machine, number.to_string().as_bytes());
    }
    machine.agent_sent(&trigger(b"256", b"s\0"));
    let refused = Action::SendAgent(message(SERVICE_REFUSED, &padded::<32>(b"256")));
    assert_eq!(drain(&mut machine), [Action::Refused(Refusal::TooMany), refused]);
    machine.ended(first);
    drain(&mut machine);
    begin(&mut machine, b"257");
}

#[test]
fn a_client_starts_a_command_and_hears_of_its_end() {
    let mut machine = with_agent(4);
    let id = client(&mut machine, 1);
    machine.client_sent(id, &message(EXEC_CMDLINE, &params(0, 0, b"DEFAULT:ls\0")));
    assert_eq!(
        drain(&mut machine),
        [
            Action::SendClient(id, message(EXEC_CMDLINE, &params(OWN, 513, b""))),
            Action::SendAgent(message(EXEC_CMDLINE, &params(0, 513, b"user:ls\0"))),
        ]
    );
    machine.agent_sent(&message(0x211, &params(7, 513, b"")));
    assert_eq!(drain(&mut machine), [], "another peer's end");
    machine.agent_sent(&message(0x211, &params(0, 513, b"")));
    assert_eq!(drain(&mut machine), [Action::CloseClient(id, None)]);
}

#[test]
fn a_client_that_leaves_early_keeps_its_port_in_use() {
    let mut machine = with_agent(4);
    let first = client(&mut machine, 1);
    machine.client_sent(first, &message(JUST_EXEC, &params(0, 0, b"u:a\0")));
    machine.client_closed(first);
    drain(&mut machine);
    let second = client(&mut machine, 2);
    machine.client_sent(second, &message(JUST_EXEC, &params(0, 0, b"u:b\0")));
    let actions = drain(&mut machine);
    assert!(
        actions.contains(&Action::SendAgent(message(JUST_EXEC, &params(0, 514, b"u:b\0")))),
        "{actions:?}"
    );
    machine.agent_sent(&message(0x211, &params(0, 513, b"")));
    assert_eq!(drain(&mut machine), [], "nobody waits for the first call any more");
    let third = client(&mut machine, 3);
    machine.client_sent(third, &message(JUST_EXEC, &params(0, 0, b"u:c\0")));
    let actions = drain(&mut machine);
    assert!(
        actions.contains(&Action::SendAgent(message(JUST_EXEC, &params(0, 513, b"u:c\0")))),
        "{actions:?}"
    );
}

#[test]
fn faulty_clients_are_closed_and_nothing_reaches_the_agent() {
    const CLIENT: &str = "from a client to a daemon";
    let too = |len| WireError::Length { kind: EXEC_CMDLINE, len, least: 9, most: 65_535 };
    let long = params(0, 0, &[b"u:".as_slice(), &[b'a'; 4087], b"\0"].concat());
    for (bytes, fault) in [
        (message(0x210, b"x"), ClientFault::Wire(WireError::Kind { channel: CLIENT, kind: 0x210 })),
        (
            message(HELLO, &3u32.to_ne_bytes()),
            ClientFault::Wire(WireError::Kind { channel: CLIENT, kind: HELLO }),
        ),
        (message(EXEC_CMDLINE, &params(0, 0, b"")), ClientFault::Wire(too(8))),
        ([EXEC_CMDLINE.to_ne_bytes(), 65_536u32.to_ne_bytes()].concat(), ClientFault::Wire(too(65_536))),
        (message(EXEC_CMDLINE, &params(0, 0, b"u:a")), ClientFault::Termination),
        (message(EXEC_CMDLINE, &params(0, 512, b"u:a\0")), ClientFault::Port(512)),
        (message(EXEC_CMDLINE, &params(0, 769, b"u:a\0")), ClientFault::Port(769)),
        (message(SERVICE_CONNECT, &params(0, 0, b"SOCKET1\0")), ClientFault::NoRequest),
        (message(EXEC_CMDLINE, &long), ClientFault::Ring(4098)),
    ] {
        let mut machine = with_agent(4);
        let id = client(&mut machine, 1);
        machine.client_sent(id, &bytes);
        assert_eq!(drain(&mut machine), [Action::CloseClient(id, Some(fault))]);
    }
}

#[test]
fn the_longest_command_passes() {
    let mut machine = with_agent(4);
    let id = client(&mut machine, 1);
    let text = [b"u:".as_slice(), &[b'a'; 4085], b"\0"].concat();
    machine.client_sent(id, &message(EXEC_CMDLINE, &params(0, 600, &text)));
    assert_eq!(drain(&mut machine), [Action::SendAgent(message(EXEC_CMDLINE, &params(0, 600, &text)))]);
}

#[test]
fn a_service_connect_is_taken_once() {
    let mut machine = with_agent(4);
    let request = begin(&mut machine, b"SOCKET11");
    let connect = message(SERVICE_CONNECT, &params(43, 513, b"SOCKET11\0"));
    let first = client(&mut machine, 1);
    machine.client_sent(first, &connect);
    assert_eq!(drain(&mut machine), [Action::SendAgent(connect.clone())]);
    let second = client(&mut machine, 2);
    machine.client_sent(second, &connect);
    assert_eq!(drain(&mut machine), [Action::CloseClient(second, Some(ClientFault::NoRequest))]);
    machine.ended(request);
    assert_eq!(drain(&mut machine), []);
}

#[test]
fn a_talkative_client_is_closed_but_its_call_goes_on() {
    let mut machine = with_agent(4);
    let id = client(&mut machine, 1);
    let mut bytes = message(EXEC_CMDLINE, &params(0, 0, b"u:a\0"));
    bytes.push(0);
    machine.client_sent(id, &bytes);
    let actions = drain(&mut machine);
    assert!(matches!(actions[1], Action::SendAgent(_)), "{actions:?}");
    assert_eq!(actions[2], Action::CloseClient(id, Some(ClientFault::Talkative)));
}

#[test]
fn losing_the_agent_closes_clients_and_forgets_requests() {
    let mut machine = with_agent(4);
    let id = client(&mut machine, 1);
    machine.client_sent(id, &message(EXEC_CMDLINE, &params(0, 0, b"u:a\0")));
    let request = begin_after(&mut machine);
    machine.agent_lost();
    assert_eq!(drain(&mut machine), [Action::CloseDoor, Action::CloseClient(id, None), Action::Reconnect]);
    assert_eq!(machine.connect(request, Destination::Dom0), None);
    machine.agent_connected();
    machine.agent_sent(&message(HELLO, &4u32.to_ne_bytes()));
    drain(&mut machine);
    machine.ended(request);
    assert_eq!(drain(&mut machine), [], "the new agent knows nothing of the old request");
    let id = client(&mut machine, 2);
    machine.client_sent(id, &message(EXEC_CMDLINE, &params(0, 0, b"u:a\0")));
    let actions = drain(&mut machine);
    assert!(
        actions.contains(&Action::SendAgent(message(EXEC_CMDLINE, &params(0, 514, b"u:a\0")))),
        "the old port stays in use: {actions:?}"
    );
}

fn begin_after(machine: &mut Machine) -> RequestId {
    drain(machine);
    begin(machine, b"SOCKET3")
}

#[test]
fn client_257_has_to_wait() {
    let mut machine = with_agent(4);
    for number in 0..CLIENTS as u64 {
        assert!(machine.has_room());
        client(&mut machine, number);
    }
    assert!(!machine.has_room());
    machine.client_closed(ClientId(7));
    assert!(machine.has_room());
}
