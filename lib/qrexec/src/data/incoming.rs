//! From the vchan to the local sinks.

use super::DataError;
use super::errors::ErrorSink;
use super::filter;
use super::flow::{Flow, Pipe, take};
use super::local::Local;
use super::machine::{Machine, Route};
use crate::wire::{Header, limit};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::AsFd;
use vchan::Vchan;

/// Where received bytes go.
#[derive(Debug)]
pub(super) struct Sinks {
    /// The local output, until it ends or is lost.
    pub(super) output: Option<Local>,
    /// The local errors, until they are lost.
    pub(super) errors: Option<ErrorSink>,
    /// Replace terminal controls in the output.
    pub(super) filter_output: bool,
    /// Replace terminal controls in the errors.
    pub(super) filter_errors: bool,
}

/// What is on its way from the peer. A message is delivered whole before the next one is read, so a slow sink slows down
/// the peer and nothing piles up here.
#[derive(Debug)]
pub(super) struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    body: Option<Body>,
    pipe: Option<Pipe>,
    /// The last body was long: read the next header alone, so that the next body can be spliced from its first byte.
    bulk: bool,
    /// There was a long body before.
    bulk_begun: bool,
    /// Whether the vchan has something to read, as far as known.
    pub(super) readable: bool,
    /// Bytes of output and errors received, headers not counted.
    pub(super) bytes: u64,
    /// When the first of these came.
    pub(super) first_ns: Option<u64>,
}

/// The rest of the body of the message being received.
#[derive(Debug, Clone, Copy)]
struct Body {
    route: Route,
    left: usize,
    /// First bytes of an exit code.
    code: ([u8; 4], usize),
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Something was done; there may be more.
    Progress,
    /// The vchan has nothing to read.
    WaitForPeer,
    /// The local output takes nothing now.
    WaitForOutput,
    /// The local errors take nothing now.
    WaitForErrors,
    /// The peer has closed and everything before that is delivered.
    Ended,
}

impl Incoming {
    /// `rest` came with the peer's HELLO.
    pub(super) fn new(rest: &[u8]) -> Self {
        let mut buffer = vec![0; FIRST_BUFFER.max(rest.len())];
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        Self {
            buffer,
            start: 0,
            end: rest.len(),
            body: None,
            pipe: None,
            bulk: false,
            bulk_begun: false,
            readable: true,
            bytes: 0,
            first_ns: None,
        }
    }

    /// One step: read something, or deliver something.
    pub(super) fn step(
        &mut self,
        vchan: &Vchan,
        machine: &mut Machine,
        sinks: &mut Sinks,
    ) -> Result<Received, DataError> {
        if self.piped() > 0 {
            return self.deliver_piped(machine, sinks);
        }
        let Some(body) = self.body else { return self.next_header(vchan, machine) };
        if body.left == 0 {
            self.body = None;
            if body.route == Route::ExitCode {
                let (code, len) = body.code;
                machine.exit_code(code.get(..len).unwrap_or_default());
            }
            return Ok(Received::Progress);
        }
        let here = body.left.min(self.end - self.start);
        if here > 0 {
            return self.deliver(body, here, machine, sinks);
        }
        let spliced = body.route == Route::Output
            && body.left >= SPLICE_FROM
            && !sinks.filter_output
            && sinks.output.as_ref().is_some_and(|output| output.splice);
        if spliced {
            return self.splice(vchan, body, sinks);
        }
        if body.left > self.buffer.len() && self.buffer.len() < LARGEST_BUFFER {
            self.buffer.resize(LARGEST_BUFFER, 0);
        }
        self.read(vchan, usize::MAX)
    }

    fn next_header(&mut self, vchan: &Vchan, machine: &mut Machine) -> Result<Received, DataError> {
        let here = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(header) = here.first_chunk() else {
            let most = if self.bulk { Header::SIZE - here.len() } else { usize::MAX };
            return self.read(vchan, most);
        };
        let header = Header::from_bytes(*header);
        self.start += Header::SIZE;
        let route = machine.header(header)?;
        let left = usize::try_from(header.len).unwrap_or(usize::MAX);
        if matches!(route, Route::Output | Route::Errors) && left > 0 {
            self.bytes += left as u64;
            self.first_ns.get_or_insert_with(os::monotonic_ns);
        }
        self.bulk = left >= SPLICE_FROM;
        self.body = Some(Body { route, left, code: ([0; 4], 0) });
        Ok(Received::Progress)
    }

    fn read(&mut self, vchan: &Vchan, most: usize) -> Result<Received, DataError> {
        if !self.readable {
            return Ok(Received::WaitForPeer);
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            // The first bytes of a header at the very end.
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let asked = room.len().min(most);
        match take(vchan, room.get_mut(..asked).unwrap_or_default()).map_err(DataError::system(RECEIVING))? {
            Flow::Moved(count) => {
                self.end += count;
                self.readable = count == asked;
                Ok(Received::Progress)
            }
            Flow::Blocked => {
                self.readable = false;
                Ok(Received::WaitForPeer)
            }
            Flow::Ended | Flow::Broken | Flow::Unsupported => Ok(Received::Ended),
        }
    }

    /// Delivers the next `here` bytes, which are in the buffer.
    fn deliver(
        &mut self,
        mut body: Body,
        here: usize,
        machine: &mut Machine,
        sinks: &mut Sinks,
    ) -> Result<Received, DataError> {
        let bytes = self.buffer.get_mut(self.start..self.start + here).unwrap_or_default();
        let taken = match body.route {
            Route::Output => match &mut sinks.output {
                None => here,
                Some(output) if !output.ready => return Ok(Received::WaitForOutput),
                Some(output) => {
                    if sinks.filter_output {
                        filter::replace(bytes);
                    }
                    match output.give(bytes).map_err(DataError::system(WRITING))? {
                        Flow::Moved(count) => count,
                        Flow::Blocked => return Ok(Received::WaitForOutput),
                        _ => {
                            machine.output_lost();
                            here
                        }
                    }
                }
            },
            Route::Errors => match &mut sinks.errors {
                None => here,
                Some(errors) if !errors.is_ready() => return Ok(Received::WaitForErrors),
                Some(errors) => {
                    if sinks.filter_errors {
                        filter::replace(bytes);
                    }
                    match errors.give(bytes) {
                        Ok(Flow::Moved(count)) => count,
                        Ok(Flow::Blocked) => return Ok(Received::WaitForErrors),
                        // Nobody wants to hear of errors: the call goes on (spec/qrexec-wire.md 7.2).
                        Ok(_) | Err(_) => {
                            sinks.errors = None;
                            here
                        }
                    }
                }
            },
            Route::ExitCode => {
                let (code, len) = &mut body.code;
                for (to, from) in code.iter_mut().skip(*len).zip(&*bytes) {
                    *to = *from;
                    *len += 1;
                }
                here
            }
            Route::Nowhere => here,
        };
        self.start += taken;
        body.left -= taken;
        self.body = Some(body);
        Ok(Received::Progress)
    }

    fn splice(&mut self, vchan: &Vchan, body: Body, sinks: &mut Sinks) -> Result<Received, DataError> {
        if !self.readable {
            return Ok(Received::WaitForPeer);
        }
        match &mut sinks.output {
            Some(output) if output.direct => self.splice_directly(vchan, body, output),
            _ => self.splice_aside(vchan, body, sinks),
        }
    }

    /// To an output that is a pipe.
    fn splice_directly(
        &mut self,
        vchan: &Vchan,
        mut body: Body,
        output: &mut Local,
    ) -> Result<Received, DataError> {
        if !output.ready {
            return Ok(Received::WaitForOutput);
        }
        if !self.bulk_begun {
            self.bulk_begun = true;
            output.grow();
        }
        match output.splice_from(vchan, body.left).map_err(DataError::system(RECEIVING))? {
            Flow::Moved(count) => {
                body.left -= count;
                self.body = Some(body);
            }
            Flow::Blocked => {
                // The kernel does not say which of the two it was.
                let mut fds = [
                    PollFd::new(vchan.as_fd(), PollFlags::POLLIN),
                    PollFd::new(output.as_fd(), PollFlags::POLLOUT),
                ];
                if poll(&mut fds, PollTimeout::ZERO).is_ok() {
                    self.readable = fds[0].any().unwrap_or(true);
                    output.ready = fds[1].any().unwrap_or(true);
                }
                output.direct = !(self.readable && output.ready);
            }
            Flow::Ended => return Ok(Received::Ended),
            // A reader that is gone is found out, and dealt with, by writing.
            Flow::Broken | Flow::Unsupported => self.forgo_splicing(output),
        }
        Ok(Received::Progress)
    }

    /// Into a pipe of our own, from where [`Self::deliver_piped`] goes on.
    fn splice_aside(&mut self, vchan: &Vchan, body: Body, sinks: &mut Sinks) -> Result<Received, DataError> {
        let pipe = match &mut self.pipe {
            Some(pipe) => pipe,
            none => none.insert(Pipe::new().map_err(DataError::system("making a pipe"))?),
        };
        match pipe.fill(vchan, body.left).map_err(DataError::system(RECEIVING))? {
            Flow::Moved(_) => {}
            Flow::Blocked => {
                self.readable = false;
                return Ok(Received::WaitForPeer);
            }
            Flow::Ended | Flow::Broken => return Ok(Received::Ended),
            Flow::Unsupported => {
                if let Some(output) = &mut sinks.output {
                    self.forgo_splicing(output);
                }
            }
        }
        Ok(Received::Progress)
    }

    fn deliver_piped(&mut self, machine: &mut Machine, sinks: &mut Sinks) -> Result<Received, DataError> {
        let held = self.piped();
        let (Some(pipe), Some(body)) = (&mut self.pipe, &mut self.body) else {
            return Ok(Received::Progress);
        };
        let Some(output) = &mut sinks.output else {
            // Lost while the pipe was full: what is in it goes the way of everything else.
            body.left -= held;
            self.pipe = None;
            return Ok(Received::Progress);
        };
        if !output.ready {
            return Ok(Received::WaitForOutput);
        }
        match output.drain(pipe).map_err(DataError::system(WRITING))? {
            Flow::Moved(count) => body.left -= count,
            Flow::Blocked => return Ok(Received::WaitForOutput),
            Flow::Ended | Flow::Broken => machine.output_lost(),
            Flow::Unsupported => {
                self.bulk = false;
                output.splice = false;
                self.unpipe().map_err(DataError::system(WRITING))?;
            }
        }
        Ok(Received::Progress)
    }

    const fn forgo_splicing(&mut self, output: &mut Local) {
        output.splice = false;
        self.bulk = false;
    }

    /// Takes what was spliced into the buffer, which is empty while the pipe is not.
    fn unpipe(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        if self.buffer.len() < LARGEST_BUFFER {
            self.buffer.resize(LARGEST_BUFFER, 0);
        }
        (self.start, self.end) = (0, 0);
        while pipe.held > 0 {
            match pipe.take(self.buffer.get_mut(self.end..).unwrap_or_default())? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.end += count,
            }
        }
        Ok(())
    }

    fn piped(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.held)
    }
}

const RECEIVING: &str = "receiving from the vchan";
const WRITING: &str = "writing the local output";
/// Enough for most calls whole, and little enough to be had at once.
const FIRST_BUFFER: usize = 16 << 10;
/// Where splicing is not possible.
const LARGEST_BUFFER: usize = 256 << 10;
/// From so many bytes on splicing beats copying.
const SPLICE_FROM: usize = 8 << 10;

const _: () = assert!(LARGEST_BUFFER >= limit::DATA_CHUNK as usize, "a spliced body must fit the buffer");
