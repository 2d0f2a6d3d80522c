//! HELLO on a data vchan: both sides name their version (spec/qrexec-wire.md 7.1).

use super::flow::{Flow, give, take};
use super::{DataError, HelloOrder};
use crate::wire::{self, Channel, Decoder, Message, limit};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use vchan::Vchan;

/// The version agreed on, and what the peer sent after its HELLO.
pub(super) fn agree(vchan: &Vchan, order: HelloOrder) -> Result<(u32, Vec<u8>), DataError> {
    match order {
        HelloOrder::SendFirst => {
            send(vchan)?;
            receive(vchan)
        }
        HelloOrder::ReceiveFirst => {
            let received = receive(vchan)?;
            send(vchan)?;
            Ok(received)
        }
    }
}

/// Twelve bytes into a vchan that carried none before: there is room.
fn send(vchan: &Vchan) -> Result<(), DataError> {
    let hello = Message::Hello { version: limit::PROTOCOL_VERSION }.to_bytes();
    match give(vchan, &hello).map_err(DataError::system("sending HELLO"))? {
        Flow::Moved(count) if count == hello.len() => Ok(()),
        _ => Err(DataError::Lost { step: "sending HELLO" }),
    }
}

fn receive(vchan: &Vchan) -> Result<(u32, Vec<u8>), DataError> {
    const STEP: &str = "waiting for HELLO";
    let mut decoder = Decoder::new(Channel::Hello);
    let mut buffer = [0; 4096];
    let deadline = Instant::now() + PATIENCE;
    loop {
        match take(vchan, &mut buffer).map_err(DataError::system(STEP))? {
            Flow::Moved(count) => decoder.push(buffer.get(..count).unwrap_or_default()),
            Flow::Blocked => {
                wait(vchan, deadline)?;
                continue;
            }
            _ => return Err(DataError::Lost { step: STEP }),
        }
        if let Some(Message::Hello { version }) = decoder.next()? {
            return Ok((wire::agree(version)?, decoder.into_rest()));
        }
    }
}

fn wait(vchan: &Vchan, deadline: Instant) -> Result<(), DataError> {
    const STEP: &str = "waiting for HELLO";
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(DataError::Timeout { step: STEP });
    }
    let left = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(vchan.as_fd(), PollFlags::POLLIN)], left) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(DataError::System { step: STEP, source: error.into() }),
    }
}

/// A peer that has just connected says HELLO at once, unless its qube is paused.
const PATIENCE: Duration = Duration::from_secs(120);
