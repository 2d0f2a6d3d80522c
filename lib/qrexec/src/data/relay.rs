//! The loop that both sides of a data channel share: it moves bytes, tells the machine, does what the machine says, and
//! waits when nothing moves.

use super::errors::ErrorSink;
use super::incoming::{Incoming, Received, Sinks};
use super::local::Local;
use super::machine::{Action, Ending, Machine};
use super::one_socket::{OneSocket, Wanted};
use super::outgoing::{Outgoing, Sent};
use super::process::Process;
use super::{DataError, HelloOrder};
use crate::wire::{Header, layout, message_type};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use vchan::Vchan;

/// One side of a data channel at work.
pub(super) struct Relay<'process> {
    pub(super) vchan: Vchan,
    pub(super) machine: Machine,
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// What is sent before the input.
    pub(super) prefix: Vec<u8>,
    pub(super) input: Option<Local>,
    /// What may take the input's place.
    pub(super) one_socket: Option<OneSocket>,
    pub(super) errors_input: Option<Local>,
    pub(super) sinks: Sinks,
    pub(super) process: Option<&'process mut Process>,
    pub(super) hung_up: bool,
}

/// Makes the vchan ready and says HELLO: the agreed version and what came with the peer's HELLO.
pub(super) fn greet(vchan: &Vchan, order: HelloOrder) -> Result<(u32, Vec<u8>), DataError> {
    vchan.set_nonblocking(true).map_err(DataError::system("preparing the vchan"))?;
    super::hello::agree(vchan, order)
}

impl Relay<'_> {
    /// Works until the channel has ended.
    pub(super) fn run(&mut self) -> Result<Ending, DataError> {
        loop {
            let mut received = Received::Progress;
            let mut moved = true;
            while moved {
                moved = self.send()?;
                if self.machine.ending().is_none() {
                    received = self.incoming.step(&self.vchan, &mut self.machine, &mut self.sinks)?;
                    moved |= received == Received::Progress;
                    if received == Received::Ended {
                        self.machine.peer_lost();
                    }
                }
                self.act();
                if let Some(ending) = self.machine.ending() {
                    return self.finish(ending);
                }
            }
            if self.hung_up && self.machine.is_service() && received == Received::WaitForOutput {
                // Nobody is left to be served, so nobody shall wait for a service that does not read its input.
                self.machine.peer_lost();
            } else {
                self.wait(received)?;
            }
        }
    }

    /// One round of sending; whether anything moved.
    fn send(&mut self) -> Result<bool, DataError> {
        let step = |error| DataError::System { step: "sending to the vchan", source: error };
        let mut moved = false;
        match self.outgoing.flush(&self.vchan).map_err(step)? {
            Sent::Broken => self.machine.send_failed(),
            sent => moved |= sent == Sent::Progress,
        }
        if self.outgoing.is_idle() && !self.prefix.is_empty() {
            let taken = self.outgoing.push_data(self.machine.input_kind(), &self.prefix);
            self.prefix.drain(..taken);
            if self.prefix.is_empty() && self.input.is_none() {
                self.machine.input_ended();
            }
            return Ok(true);
        }
        let step = |error| DataError::System { step: "reading the local input", source: error };
        let wanted = self.heed_wish();
        if let Some(source) = self.input.as_mut().filter(|source| source.ready && self.outgoing.is_idle()) {
            match self.outgoing.relay(source, self.machine.input_kind(), &self.vchan).map_err(step)? {
                Sent::SourceEnded => moved |= self.input_ended(),
                Sent::Nothing if wanted => moved |= self.switch(),
                Sent::Broken => self.machine.send_failed(),
                sent => moved |= sent == Sent::Progress,
            }
        }
        self.act();
        if let Some(source) =
            self.errors_input.as_mut().filter(|source| source.ready && self.outgoing.is_idle())
        {
            match self.outgoing.relay(source, message_type::DATA_STDERR, &self.vchan).map_err(step)? {
                Sent::SourceEnded => self.machine.errors_ended(),
                Sent::Broken => self.machine.send_failed(),
                sent => moved |= sent == Sent::Progress,
            }
        }
        Ok(moved)
    }

    /// Whether the input is to be read from the other socket, after what has come by this one (`ready`: to be looked at).
    fn heed_wish(&mut self) -> bool {
        let wanted = self.one_socket.as_ref().map_or(Wanted::No, OneSocket::wanted);
        if wanted == Wanted::Never {
            self.one_socket = None;
        }
        if let Some(input) = self.input.as_mut().filter(|_| wanted == Wanted::Yes) {
            input.ready = true;
        }
        wanted == Wanted::Yes
    }

    /// Reads the input from the other socket from now on.
    fn switch(&mut self) -> bool {
        let other = self.one_socket.take();
        let is_switched = other.is_some();
        self.input = other.map(OneSocket::into_input);
        is_switched
    }

    /// Whether it goes on by the other socket.
    fn input_ended(&mut self) -> bool {
        if self.one_socket.as_ref().is_some_and(OneSocket::is_wanted_by_now) {
            return self.switch();
        }
        self.machine.input_ended();
        false
    }

    fn act(&mut self) {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Send(header) => self.outgoing.push(&header.to_bytes()),
                Action::SendExit(code) => {
                    self.outgoing.push(&Header { kind: message_type::DATA_EXIT_CODE, len: 4 }.to_bytes());
                    self.outgoing.push(&layout::ExitCode { code }.to_bytes());
                }
                Action::CloseInput => {
                    self.input = None;
                    self.one_socket = None;
                    self.prefix.clear();
                }
                Action::CloseErrors => self.errors_input = None,
                Action::CloseOutput => self.sinks.output = None,
            }
        }
    }

    /// Sends what is still to be sent.
    ///
    /// The caller has the exit code by now and need not wait. The service reads and forgets what the caller still sends,
    /// until that ends its input or closes: a libvchan-socket caller whose sending fails looks no further for the exit
    /// code that was just sent to it (spec/vchan.md 3.4).
    pub(super) fn finish(&mut self, ending: Ending) -> Result<Ending, DataError> {
        let mut deadline = None;
        loop {
            let sent = self.outgoing.flush(&self.vchan).map_err(DataError::system(FINISHING))?;
            let is_sent = self.outgoing.is_idle();
            if ending == Ending::Lost || !self.machine.is_service() {
                return Ok(ending);
            }
            if sent == Sent::Broken {
                return Ok(Ending::Lost);
            }
            if is_sent && !self.machine.peer_may_still_send() {
                return Ok(ending);
            }
            match self.incoming.step(&self.vchan, &mut self.machine, &mut self.sinks) {
                Ok(Received::Ended) | Err(_) if is_sent => return Ok(ending),
                Ok(Received::Ended) => return Ok(Ending::Lost),
                Ok(Received::Progress) => {}
                Ok(_) => {
                    if is_sent {
                        deadline.get_or_insert_with(|| Instant::now() + FAREWELL);
                    }
                    if !self.wait_for_peer(!is_sent, deadline)? {
                        return Ok(ending);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// False when `deadline` passed.
    fn wait_for_peer(&mut self, sending: bool, deadline: Option<Instant>) -> Result<bool, DataError> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, sending);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(self.vchan.as_fd(), events)], limit) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(true),
            Err(error) => return Err(DataError::System { step: FINISHING, source: error.into() }),
        }
        self.incoming.readable = true;
        self.outgoing.writable = true;
        Ok(true)
    }

    /// Waits until something can move.
    fn wait(&mut self, received: Received) -> Result<(), DataError> {
        let sources = self.outgoing.is_idle();
        let mut vchan_events = PollFlags::empty();
        vchan_events.set(PollFlags::POLLIN, received == Received::WaitForPeer);
        vchan_events.set(PollFlags::POLLOUT, !sources);
        let vchan = (!self.hung_up || !vchan_events.is_empty()).then(|| (self.vchan.as_fd(), vchan_events));
        let input = self.input.as_ref().filter(|_| sources).map(|local| (local.as_fd(), PollFlags::POLLIN));
        let errors_input =
            self.errors_input.as_ref().filter(|_| sources).map(|local| (local.as_fd(), PollFlags::POLLIN));
        // Even with nothing to write: that nobody reads any more shall be noticed.
        let output = self.sinks.output.as_ref().map(|local| {
            let waiting = received == Received::WaitForOutput;
            (local.as_fd(), if waiting { PollFlags::POLLOUT } else { PollFlags::empty() })
        });
        let errors = self.sinks.errors.as_ref().filter(|_| received == Received::WaitForErrors);
        let errors = errors.and_then(ErrorSink::local).map(|local| (local.as_fd(), PollFlags::POLLOUT));
        let process =
            self.process.as_ref().and_then(|process| process.watch()).map(|fd| (fd, PollFlags::POLLIN));
        let tick = self.process.as_ref().map_or(PollTimeout::NONE, |process| process.tick());

        let wish = self.one_socket.as_ref();
        let bell = wish.map(|wish| (wish.bell(), PollFlags::POLLIN));
        let spoken = wish.filter(|_| sources).and_then(OneSocket::watch).map(|fd| (fd, PollFlags::POLLIN));

        let all = [vchan, input, errors_input, output, errors, process, bell, spoken];
        let mut fds: Vec<PollFd<'_>> =
            all.iter().flatten().map(|(fd, events)| PollFd::new(*fd, *events)).collect();
        match poll(&mut fds, tick) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                return Err(DataError::System {
                    step: "waiting for the call's streams",
                    source: error.into(),
                });
            }
        }
        let mut seen = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let [vchan, input, errors_input, output, errors, process, bell, _] =
            all.map(|fd| fd.and_then(|_| seen.next()).unwrap_or(PollFlags::empty()));
        if let Some(wish) = self.one_socket.as_ref().filter(|_| !bell.is_empty()) {
            wish.look();
        }
        self.note(vchan, [input, errors_input, output, errors], process)
    }

    /// Takes to heart what poll(2) has seen.
    fn note(&mut self, vchan: PollFlags, locals: [PollFlags; 4], ended: PollFlags) -> Result<(), DataError> {
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        let [input, errors_input, output, errors] = locals;
        self.hung_up |= vchan.intersects(gone);
        self.incoming.readable |= vchan.intersects(PollFlags::POLLIN | gone);
        self.outgoing.writable |= vchan.intersects(PollFlags::POLLOUT | gone);
        for (local, seen) in [
            (self.input.as_mut(), input),
            (self.errors_input.as_mut(), errors_input),
            (self.sinks.errors.as_mut().and_then(ErrorSink::local_mut), errors),
        ] {
            if let Some(local) = local {
                local.ready |= !seen.is_empty();
            }
        }
        if let Some(local) = &mut self.sinks.output {
            local.ready |= output.contains(PollFlags::POLLOUT);
        }
        if output.intersects(gone) {
            self.machine.output_lost();
        }
        if let Some(process) = &mut self.process {
            if !ended.is_empty() || process.watch().is_none() {
                if let Some(code) = process.reap().map_err(DataError::system("waiting for the service"))? {
                    self.machine.process_ended(code);
                }
            }
        }
        self.act();
        Ok(())
    }
}

const FINISHING: &str = "sending the last messages";
/// How long a caller may take to notice that its call has ended.
const FAREWELL: Duration = Duration::from_secs(2);
