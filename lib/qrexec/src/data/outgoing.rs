//! From the local sources to the vchan.

use super::flow::{Flow, Pipe, give};
use super::local::Local;
use crate::wire::{Header, message_type};
use std::io;
use vchan::Vchan;

/// What is on its way to the peer: at most one message of data and the short messages behind it.
///
/// In this order: the bytes of the buffer, the bytes of the pipe, the tail. A source is read only when all are empty.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Room for a header in front of what is read.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    pipe: Option<Pipe>,
    tail: Vec<u8>,
    /// Longest body that the agreed version allows.
    chunk: usize,
    /// The last read filled the buffer: from now on it pays to splice.
    bulk: bool,
    is_broken: bool,
    /// Whether the vchan takes bytes, as far as known.
    pub(super) writable: bool,
    /// Bytes of the input sent, headers not counted.
    pub(super) bytes: u64,
    /// When the first message was sent.
    pub(super) first_ns: Option<u64>,
}

/// What an attempt to send or read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Something was done; there may be more.
    Progress,
    /// Nothing can be done now.
    Nothing,
    /// The source has ended.
    SourceEnded,
    /// The peer takes nothing more.
    Broken,
}

impl Outgoing {
    pub(super) fn new(chunk: u32) -> Self {
        let chunk = usize::try_from(chunk).unwrap_or(4096);
        Self {
            buffer: vec![0; FIRST_BUFFER.min(Header::SIZE + chunk)],
            start: 0,
            end: 0,
            pipe: None,
            tail: Vec::new(),
            chunk,
            bulk: false,
            is_broken: false,
            writable: true,
            bytes: 0,
            first_ns: None,
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.start == self.end && self.piped() == 0 && self.tail.is_empty()
    }

    /// Adds a short message behind what is on its way.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.is_broken {
            self.tail.extend_from_slice(bytes);
        }
    }

    /// Adds a message with as much of `data` as fits one; says how much that is. Only when idle.
    pub(super) fn push_data(&mut self, kind: u32, data: &[u8]) -> usize {
        let body = data.get(..self.chunk).unwrap_or(data);
        self.tail.extend_from_slice(&header(kind, body.len()).to_bytes());
        self.tail.extend_from_slice(body);
        self.bytes += body.len() as u64;
        body.len()
    }

    /// Sends what is on its way, as far as the vchan takes it.
    pub(super) fn flush(&mut self, vchan: &Vchan) -> io::Result<Sent> {
        let mut sent = Sent::Nothing;
        while self.writable && !self.is_idle() {
            let flow = if self.start < self.end {
                let flow = give(vchan, self.buffer.get(self.start..self.end).unwrap_or_default())?;
                if let Flow::Moved(count) = flow {
                    self.start += count;
                }
                flow
            } else if self.piped() > 0 {
                self.drain(vchan)?
            } else {
                let flow = give(vchan, &self.tail)?;
                if let Flow::Moved(count) = flow {
                    self.tail.drain(..count);
                }
                flow
            };
            match flow {
                Flow::Moved(_) => {
                    sent = Sent::Progress;
                    self.first_ns.get_or_insert_with(os::monotonic_ns);
                }
                Flow::Blocked => self.writable = false,
                Flow::Ended | Flow::Broken => {
                    self.abandon();
                    return Ok(Sent::Broken);
                }
                Flow::Unsupported => {}
            }
        }
        Ok(sent)
    }

    /// Reads one message's worth of a source and sends what the vchan takes of it. Only when idle.
    pub(super) fn relay(&mut self, source: &mut Local, kind: u32, vchan: &Vchan) -> io::Result<Sent> {
        let flow = if self.bulk && source.splice {
            self.splice_from(source, kind)?
        } else {
            self.read_from(source, kind)?
        };
        match flow {
            Flow::Moved(count) => {
                if kind != message_type::DATA_STDERR {
                    self.bytes += count as u64;
                }
                match self.flush(vchan)? {
                    Sent::Broken => Ok(Sent::Broken),
                    _ => Ok(Sent::Progress),
                }
            }
            Flow::Unsupported => Ok(Sent::Progress),
            Flow::Blocked => Ok(Sent::Nothing),
            Flow::Ended | Flow::Broken => Ok(Sent::SourceEnded),
        }
    }

    /// The peer takes nothing more.
    fn abandon(&mut self) {
        self.is_broken = true;
        self.start = self.end;
        self.pipe = None;
        self.tail.clear();
    }

    fn read_from(&mut self, source: &mut Local, kind: u32) -> io::Result<Flow> {
        let room = self.buffer.get_mut(Header::SIZE..).unwrap_or_default();
        let asked = room.len();
        let flow = source.take(room)?;
        if let Flow::Moved(count) = flow {
            self.put_header(kind, count);
            self.end = Header::SIZE + count;
            if count == asked {
                self.become_bulk(source);
            }
        }
        Ok(flow)
    }

    fn splice_from(&mut self, source: &mut Local, kind: u32) -> io::Result<Flow> {
        let pipe = match &mut self.pipe {
            Some(pipe) => pipe,
            none => none.insert(Pipe::new()?),
        };
        let flow = source.fill(pipe, self.chunk)?;
        match flow {
            Flow::Moved(count) => {
                self.put_header(kind, count);
                self.end = Header::SIZE;
                // Small portions are cheaper copied: one call to the kernel instead of three.
                self.bulk = count >= SPLICE_FROM;
            }
            Flow::Unsupported => source.splice = false,
            _ => {}
        }
        Ok(flow)
    }

    fn become_bulk(&mut self, source: &Local) {
        if source.splice {
            if !self.bulk {
                source.grow();
            }
            self.bulk = true;
        } else {
            self.buffer.resize(Header::SIZE + self.chunk, 0);
        }
    }

    fn put_header(&mut self, kind: u32, len: usize) {
        if let Some(place) = self.buffer.first_chunk_mut() {
            *place = header(kind, len).to_bytes();
        }
        self.start = 0;
    }

    fn drain(&mut self, vchan: &Vchan) -> io::Result<Flow> {
        let Some(pipe) = &mut self.pipe else { return Ok(Flow::Ended) };
        let flow = pipe.drain(vchan)?;
        if flow == Flow::Unsupported {
            // No splicing to this vchan at all: go on by copying.
            self.buffer.resize(Header::SIZE + self.chunk, 0);
            self.start = 0;
            self.end = pipe.take(&mut self.buffer)?;
        }
        Ok(flow)
    }

    fn piped(&self) -> usize {
        self.pipe.as_ref().map_or(0, |pipe| pipe.held)
    }
}

fn header(kind: u32, len: usize) -> Header {
    Header { kind, len: u32::try_from(len).unwrap_or(u32::MAX) }
}

/// Enough for most calls whole, and little enough to be had at once.
const FIRST_BUFFER: usize = 16 << 10;
/// From so many bytes on splicing beats copying.
const SPLICE_FROM: usize = 8 << 10;
