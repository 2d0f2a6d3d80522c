//! The rules of a data channel: what happens to the streams of a call, and when it is over. Pure: it sees headers and
//! events and gives actions; bytes pass it by.
//!
//! Both sides are one machine, since both relay one local source to the peer and the peer's bytes to one local sink
//! (spec/qrexec-wire.md 7.2 to 7.4):
//!
//! | | caller | service |
//! |---|---|---|
//! | input, sent to the peer | local input | the service's output |
//! | errors, sent to the peer | none | the service's errors |
//! | output, fed by the peer | local output | the service's input |

use crate::wire::{Channel, Header, WireError, exit_code, message_type};
use std::collections::VecDeque;

/// Which side of the call this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Who asked for the service.
    Caller {
        /// See [`super::Options::end_with_output`].
        end_with_output: bool,
    },
    /// Where the service runs.
    Service {
        /// There is a process to wait for; otherwise the exit code is 0.
        process: bool,
        /// End when the caller's input has ended.
        exit_on_client_eof: bool,
        /// End when the service's output has ended.
        exit_on_service_eof: bool,
    },
}

/// What the driver is to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Send a message that is a header alone, after all data that was read before.
    Send(Header),
    /// Send the exit code, after everything else.
    SendExit(i32),
    /// Read no more from the local input.
    CloseInput,
    /// Read no more from the local errors.
    CloseErrors,
    /// Nothing more comes for the local output: close it.
    CloseOutput,
}

/// Where the body of a received message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// To the local output.
    Output,
    /// To the local errors.
    Errors,
    /// Back to the machine, by [`Machine::exit_code`].
    ExitCode,
    /// It is thrown away.
    Nowhere,
}

/// How the channel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With this exit code: received (caller), or as soon as all actions are done (service).
    Exit(i32),
    /// The peer, or whoever reads the local output, went away first.
    Lost,
}

/// The state of one side of a data channel.
#[derive(Debug)]
pub(super) struct Machine {
    side: Side,
    channel: Channel,
    input: bool,
    errors: bool,
    output: bool,
    process: bool,
    exit: Option<i32>,
    output_lost: bool,
    peer_input_ended: bool,
    ended: Option<Ending>,
    actions: VecDeque<Action>,
}

impl Machine {
    /// After HELLO has agreed on `version`. `input` and `errors` say whether there are such local streams.
    pub(super) fn new(side: Side, version: u32, input: bool, errors: bool) -> Self {
        let mut machine = Self {
            side,
            channel: Channel::Data { version },
            input: true,
            errors: true,
            output: true,
            process: matches!(side, Side::Service { process: true, .. }),
            exit: None,
            output_lost: false,
            peer_input_ended: false,
            ended: None,
            actions: VecDeque::with_capacity(8),
        };
        if !errors {
            machine.errors_ended();
        }
        if !input {
            machine.input_ended();
        }
        machine
    }

    /// The next thing to do; all of it must be done before [`Self::ending`] counts.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether and how the channel has ended.
    pub(super) const fn ending(&self) -> Option<Ending> {
        self.ended
    }

    /// Whether the caller may still send although the exit code is on its way: then its last bytes must be read, or a
    /// libvchan-socket caller would fail to send them and not look for the exit code.
    pub(super) const fn peer_may_still_send(&self) -> bool {
        !self.peer_input_ended
    }

    /// Message type of what the local input gives.
    pub(super) const fn input_kind(&self) -> u32 {
        if self.is_service() { message_type::DATA_STDOUT } else { message_type::DATA_STDIN }
    }

    /// Whether this is the service's side.
    pub(super) const fn is_service(&self) -> bool {
        matches!(self.side, Side::Service { .. })
    }

    /// A header came; says where its body goes.
    pub(super) fn header(&mut self, header: Header) -> Result<Route, WireError> {
        self.channel.check(header)?;
        match header.kind {
            // Each side takes the other's type for its own (spec/qrexec-wire.md 7.2).
            message_type::DATA_STDIN | message_type::DATA_STDOUT => {
                if header.len == 0 {
                    self.peer_input_ended = true;
                    self.close_output();
                } else if self.output {
                    return Ok(Route::Output);
                }
            }
            message_type::DATA_STDERR if !self.is_service() => return Ok(Route::Errors),
            message_type::DATA_EXIT_CODE if !self.is_service() => return Ok(Route::ExitCode),
            _ => log::debug!("data vchan: the caller sent message type {:#x}, ignored", header.kind),
        }
        Ok(Route::Nowhere)
    }

    /// The body of an exit code came, cut to four bytes; fewer mean 255.
    pub(super) fn exit_code(&mut self, body: &[u8]) {
        let code = body.first_chunk().map_or(exit_code::LOST, |bytes| i32::from_ne_bytes(*bytes));
        self.exit = Some(code);
        // There is nobody left to read our input.
        self.input_ended();
        self.settle();
    }

    /// The local input has ended.
    pub(super) fn input_ended(&mut self) {
        if self.end_input() && matches!(self.side, Side::Service { exit_on_service_eof: true, .. }) {
            self.close_output();
        }
        self.settle();
    }

    /// The service's errors have ended.
    pub(super) fn errors_ended(&mut self) {
        if std::mem::take(&mut self.errors) && self.is_service() {
            self.actions.push_back(Action::Send(Header { kind: message_type::DATA_STDERR, len: 0 }));
            self.actions.push_back(Action::CloseErrors);
        }
        self.settle();
    }

    /// Nobody reads the local output any more; what still comes for it is thrown away.
    pub(super) fn output_lost(&mut self) {
        self.output_lost = self.output_lost || self.output;
        self.close_output();
    }

    /// The service's process ended.
    pub(super) fn process_ended(&mut self, code: i32) {
        self.process = false;
        self.exit = Some(code);
        self.close_output();
    }

    /// The peer takes nothing more. What it sent before can still be read.
    pub(super) fn send_failed(&mut self) {
        if self.is_service() {
            self.peer_lost();
        } else if std::mem::take(&mut self.input) {
            self.actions.push_back(Action::CloseInput);
            self.settle();
        }
    }

    /// The peer closed the vchan, and all that it sent has been dealt with.
    pub(super) fn peer_lost(&mut self) {
        if self.ended.is_none() {
            self.ended = Some(match self.exit {
                Some(code) if !self.is_service() => Ending::Exit(code),
                _ => Ending::Lost,
            });
        }
    }

    fn close_output(&mut self) {
        if std::mem::take(&mut self.output) {
            self.actions.push_back(Action::CloseOutput);
            if matches!(self.side, Side::Service { exit_on_client_eof: true, .. }) {
                self.end_input();
            }
        }
        self.settle();
    }

    /// Whether it had not ended before.
    fn end_input(&mut self) -> bool {
        let was_open = std::mem::take(&mut self.input);
        if was_open {
            self.actions.push_back(Action::Send(Header { kind: self.input_kind(), len: 0 }));
            self.actions.push_back(Action::CloseInput);
        }
        was_open
    }

    fn settle(&mut self) {
        if self.ended.is_some() || self.input || self.output {
            return;
        }
        match self.side {
            Side::Service { .. } => {
                if !self.errors && !self.process {
                    let code = self.exit.unwrap_or(0);
                    self.actions.push_back(Action::SendExit(code));
                    self.ended = Some(Ending::Exit(code));
                }
            }
            Side::Caller { end_with_output } => match self.exit {
                // A negative code is not believed until the vchan closes (spec/qrexec-wire.md 7.4).
                Some(code) if code >= 0 => self.ended = Some(Ending::Exit(code)),
                None if end_with_output && self.output_lost => self.ended = Some(Ending::Lost),
                _ => {}
            },
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
