//! What threads of the daemon tell its loop.

use super::RequestId;
use super::machine::Destination;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use vchan::Vchan;

/// One message to the loop.
#[derive(Debug)]
pub(super) enum Mail {
    /// The agent is connected, or cannot be.
    Agent(io::Result<Vchan>),
    /// A request is allowed: connect it, and say at which port.
    Connect(RequestId, Destination, SyncSender<Option<u32>>),
    /// A request has ended, well or badly.
    Ended(RequestId),
}

/// The loop's end.
pub(super) struct Inbox {
    mail: Receiver<Mail>,
    bell: UnixStream,
    terminate: Arc<AtomicBool>,
}

/// A thread's end.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    mail: Sender<Mail>,
    bell: Arc<UnixStream>,
}

/// Makes both ends. SIGTERM and SIGINT ring at the loop's end, too.
pub(super) fn office() -> io::Result<(Inbox, Outbox)> {
    let (inner, outer) = UnixStream::pair()?;
    inner.set_nonblocking(true)?;
    outer.set_nonblocking(true)?;
    let terminate = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // In this order: who hears the bell must see the flag.
        signal_hook::flag::register(signal, Arc::clone(&terminate))?;
        signal_hook::low_level::pipe::register(signal, outer.try_clone()?)?;
    }
    let (sender, receiver) = channel();
    Ok((Inbox { mail: receiver, bell: inner, terminate }, Outbox { mail: sender, bell: Arc::new(outer) }))
}

impl Inbox {
    /// Silences the bell and gives all mail that has come.
    pub(super) fn collect(&mut self) -> Vec<Mail> {
        let mut rung = [0; 256];
        while matches!(self.bell.read(&mut rung), Ok(1..)) {}
        self.mail.try_iter().collect()
    }

    /// Whether a signal has asked this daemon to end.
    pub(super) fn is_terminated(&self) -> bool {
        self.terminate.load(Ordering::SeqCst)
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Outbox {
    /// Sends one message. When the loop is gone there is nobody left to tell.
    pub(super) fn send(&self, mail: Mail) {
        if self.mail.send(mail).is_ok() {
            // A bell that takes no more rings is ringing.
            let _: io::Result<usize> = (&*self.bell).write(&[0]);
        }
    }

    /// Has a request connected. Gives the data port; `None` when it was answered already or cannot be.
    pub(super) fn connect(&self, id: RequestId, to: Destination) -> Option<u32> {
        let (reply, answer) = sync_channel(1);
        self.send(Mail::Connect(id, to, reply));
        answer.recv().ok().flatten()
    }
}
