//! The rules, one by one and under random events.

use super::*;
use proptest::prelude::*;

const CALLER: Side = Side::Caller { end_with_output: false };

fn service(process: bool) -> Side {
    Side::Service { process, exit_on_client_eof: false, exit_on_service_eof: false }
}

fn actions(machine: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| machine.next_action()).collect()
}

const fn end_of(kind: u32) -> Action {
    Action::Send(Header { kind, len: 0 })
}

const STDIN: u32 = message_type::DATA_STDIN;
const STDOUT: u32 = message_type::DATA_STDOUT;
const STDERR: u32 = message_type::DATA_STDERR;
const EXIT: u32 = message_type::DATA_EXIT_CODE;

fn header(kind: u32, len: u32) -> Header {
    Header { kind, len }
}

#[test]
fn a_service_without_errors_says_so_first() {
    let mut machine = Machine::new(service(true), 4, true, false);
    assert_eq!(actions(&mut machine), [end_of(STDERR), Action::CloseErrors]);
}

#[test]
fn p9_the_exit_code_is_sent_last_and_only_when_all_has_ended() {
    let mut machine = Machine::new(service(true), 4, true, true);
    machine.process_ended(3);
    assert_eq!(actions(&mut machine), [Action::CloseOutput]);
    machine.errors_ended();
    assert_eq!(actions(&mut machine), [end_of(STDERR), Action::CloseErrors]);
    assert_eq!(machine.ending(), None);
    machine.input_ended();
    assert_eq!(actions(&mut machine), [end_of(STDOUT), Action::CloseInput, Action::SendExit(3)]);
    assert_eq!(machine.ending(), Some(Ending::Exit(3)));
}

#[test]
fn a_service_whose_streams_ended_still_waits_for_its_process() {
    let mut machine = Machine::new(service(true), 4, true, true);
    machine.input_ended();
    machine.errors_ended();
    assert_eq!(machine.header(header(STDIN, 0)), Ok(Route::Nowhere));
    assert_eq!(machine.ending(), None);
    machine.process_ended(0);
    assert_eq!(machine.ending(), Some(Ending::Exit(0)));
    assert!(!machine.peer_may_still_send());
}

#[test]
fn the_other_sides_type_is_taken_for_ones_own() {
    let mut machine = Machine::new(service(true), 4, true, true);
    assert_eq!(machine.header(header(STDOUT, 5)), Ok(Route::Output));
    let mut machine = Machine::new(CALLER, 4, true, false);
    assert_eq!(machine.header(header(STDIN, 5)), Ok(Route::Output));
}

#[test]
fn what_only_a_service_sends_is_ignored_by_a_service() {
    let mut machine = Machine::new(service(true), 4, true, true);
    assert_eq!(machine.header(header(STDERR, 5)), Ok(Route::Nowhere));
    assert_eq!(machine.header(header(EXIT, 4)), Ok(Route::Nowhere));
    assert_eq!(machine.ending(), None);
}

#[test]
fn input_after_its_end_is_thrown_away() {
    let mut machine = Machine::new(service(true), 4, true, true);
    assert_eq!(machine.header(header(STDIN, 0)), Ok(Route::Nowhere));
    assert_eq!(actions(&mut machine), [Action::CloseOutput]);
    assert_eq!(machine.header(header(STDIN, 9)), Ok(Route::Nowhere));
    assert_eq!(machine.header(header(STDIN, 0)), Ok(Route::Nowhere));
    assert_eq!(actions(&mut machine), []);
}

#[test]
fn a_caller_with_the_exit_code_drops_its_input_and_waits_for_the_output() {
    let mut machine = Machine::new(CALLER, 4, true, false);
    assert_eq!(machine.header(header(EXIT, 4)), Ok(Route::ExitCode));
    machine.exit_code(&7i32.to_ne_bytes());
    assert_eq!(actions(&mut machine), [end_of(STDIN), Action::CloseInput]);
    assert_eq!(machine.ending(), None);
    assert_eq!(machine.header(header(STDOUT, 0)), Ok(Route::Nowhere));
    assert_eq!(machine.ending(), Some(Ending::Exit(7)));
}

#[test]
fn a_vchan_that_closes_ends_with_what_is_known() {
    for (code, ending) in [(None, Ending::Lost), (Some(5), Ending::Exit(5)), (Some(-5), Ending::Exit(-5))] {
        let mut machine = Machine::new(CALLER, 4, true, false);
        if let Some(code) = code {
            machine.exit_code(&i32::to_ne_bytes(code));
        }
        assert_eq!(machine.ending(), None);
        machine.peer_lost();
        assert_eq!(machine.ending(), Some(ending));
    }
    let mut machine = Machine::new(service(true), 4, true, true);
    machine.process_ended(0);
    machine.send_failed();
    assert_eq!(machine.ending(), Some(Ending::Lost));
}

#[test]
fn a_caller_that_cannot_send_reads_on() {
    let mut machine = Machine::new(CALLER, 4, true, false);
    machine.send_failed();
    assert_eq!((actions(&mut machine), machine.ending()), (vec![Action::CloseInput], None));
    assert_eq!(machine.header(header(STDOUT, 3)), Ok(Route::Output));
}

#[test]
fn a_lost_output_is_an_end_only_when_asked_for() {
    for (asked, ending) in [(false, None), (true, Some(Ending::Lost))] {
        let mut machine = Machine::new(Side::Caller { end_with_output: asked }, 4, true, false);
        machine.output_lost();
        assert_eq!(machine.header(header(STDOUT, 3)), Ok(Route::Nowhere));
        assert_eq!(machine.ending(), None);
        machine.input_ended();
        assert_eq!(machine.ending(), ending);
    }
    // An output that ended in good order is none that was lost.
    let mut machine = Machine::new(Side::Caller { end_with_output: true }, 4, false, false);
    assert_eq!(machine.header(header(STDOUT, 0)), Ok(Route::Nowhere));
    assert_eq!(machine.ending(), None);
}

#[test]
fn sockets_may_end_with_either_direction() {
    let side = Side::Service { process: false, exit_on_client_eof: true, exit_on_service_eof: false };
    let mut machine = Machine::new(side, 4, true, false);
    assert_eq!(machine.header(header(STDIN, 0)), Ok(Route::Nowhere));
    let all = [
        end_of(STDERR),
        Action::CloseErrors,
        Action::CloseOutput,
        end_of(STDOUT),
        Action::CloseInput,
        Action::SendExit(0),
    ];
    assert_eq!(actions(&mut machine), all);

    let side = Side::Service { process: false, exit_on_client_eof: false, exit_on_service_eof: true };
    let mut machine = Machine::new(side, 4, true, false);
    machine.input_ended();
    assert_eq!(machine.ending(), Some(Ending::Exit(0)));
    assert!(machine.peer_may_still_send());
}

/// What can happen to a machine.
#[derive(Debug, Clone, Copy)]
enum Event {
    Header(u32, u32),
    ExitCode(i32),
    InputEnded,
    ErrorsEnded,
    OutputLost,
    ProcessEnded(i32),
    SendFailed,
    PeerLost,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0x18eu32..0x196, prop_oneof![Just(0u32), 1u32..70_000]).prop_map(|(kind, len)| Event::Header(kind, len)),
        1 => any::<i32>().prop_map(Event::ExitCode),
        2 => Just(Event::InputEnded),
        2 => Just(Event::ErrorsEnded),
        1 => Just(Event::OutputLost),
        2 => any::<u8>().prop_map(|code| Event::ProcessEnded(code.into())),
        1 => Just(Event::SendFailed),
        1 => Just(Event::PeerLost),
    ]
}

fn side() -> impl Strategy<Value = Side> {
    (any::<bool>(), any::<[bool; 3]>()).prop_map(|(caller, [a, b, c])| {
        if caller {
            Side::Caller { end_with_output: a }
        } else {
            Side::Service { process: a, exit_on_client_eof: b, exit_on_service_eof: c }
        }
    })
}

proptest! {
    #[test]
    fn no_stream_ends_twice_and_nothing_follows_the_exit_code(
        side in side(), version in 2u32..5, input: bool, errors: bool, events in proptest::collection::vec(event(), 0..30),
    ) {
        let mut machine = Machine::new(side, version, input, errors);
        let mut seen = actions(&mut machine);
        let mut ending = None;
        for event in events {
            match event {
                Event::Header(kind, len) => {
                    let allowed = (STDIN..=EXIT).contains(&kind) && len <= crate::wire::limit::data_chunk(version);
                    prop_assert_eq!(machine.header(header(kind, len)).is_ok(), allowed);
                }
                Event::ExitCode(code) if !machine.is_service() => machine.exit_code(&code.to_ne_bytes()),
                Event::InputEnded => machine.input_ended(),
                Event::ErrorsEnded => machine.errors_ended(),
                Event::OutputLost => machine.output_lost(),
                Event::ProcessEnded(code) if machine.process => machine.process_ended(code),
                Event::SendFailed => machine.send_failed(),
                Event::PeerLost => machine.peer_lost(),
                _ => {}
            }
            seen.extend(actions(&mut machine));
            prop_assert!(ending.is_none() || machine.ending() == ending, "an end is final");
            ending = machine.ending();
        }
        for action in &seen {
            prop_assert_eq!(seen.iter().filter(|other| *other == action).count(), 1, "{:?}", seen);
        }
        if let Some(at) = seen.iter().position(|action| matches!(action, Action::SendExit(_))) {
            prop_assert!(machine.is_service());
            prop_assert_eq!(at, seen.len() - 1);
            prop_assert!(seen.contains(&end_of(STDOUT)) && seen.contains(&end_of(STDERR)));
        }
    }

    /// Two machines joined by queues, with whatever order of events: both end, with the same exit code.
    #[test]
    fn two_sides_agree(code in 0i32..256, order in proptest::collection::vec(0usize..6, 200), socket: bool) {
        let mut caller = Machine::new(CALLER, 4, true, false);
        let mut server = Machine::new(service(!socket), 4, true, !socket);
        let (mut to_server, mut to_caller) = (VecDeque::new(), VecDeque::new());
        // Enough turns for whoever the random order has left out.
        for turn in order.into_iter().chain((0..6).cycle().take(60)) {
            match turn {
                0 => caller.input_ended(),
                1 if server.ending().is_none() => server.input_ended(),
                2 if !socket && server.ending().is_none() => server.errors_ended(),
                3 if server.process => server.process_ended(code),
                4 => {
                    if let Some(Action::Send(header)) = to_server.pop_front() {
                        server.header(header).unwrap();
                    }
                }
                5 => match to_caller.pop_front() {
                    Some(Action::Send(header)) => drop(caller.header(header).unwrap()),
                    Some(Action::SendExit(code)) => caller.exit_code(&code.to_ne_bytes()),
                    _ => {}
                },
                _ => {}
            }
            let sent = |action: &Action| matches!(action, Action::Send(_) | Action::SendExit(_));
            to_server.extend(actions(&mut caller).into_iter().filter(sent));
            to_caller.extend(actions(&mut server).into_iter().filter(sent));
        }
        let code = if socket { 0 } else { code };
        prop_assert_eq!((caller.ending(), server.ending()), (Some(Ending::Exit(code)), Some(Ending::Exit(code))));
    }
}
