//! What a program says on standard error, passed on and collected for a notification.

use names::printable;
use std::io::{self, Read, Write};
use std::process::ChildStderr;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// The last bytes that are kept, and the last lines that are shown.
const KEPT: usize = 2048;
const LINES: usize = 3;
/// A process that the program left behind may hold the pipe for ever.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct Words(Receiver<Vec<u8>>);

impl Words {
    pub(super) fn listen(mut from: ChildStderr) -> io::Result<Self> {
        let (last, words) = channel();
        thread::Builder::new().name("words".into()).spawn(move || {
            let mut kept = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let bytes = buffer.get(..count).unwrap_or_default();
                if io::stderr().write_all(bytes).is_err() {
                    // Nobody listens there.
                }
                kept.extend_from_slice(bytes);
                kept.drain(..kept.len().saturating_sub(KEPT));
            }
            drop(last.send(kept));
        })?;
        Ok(Self(words))
    }

    /// The last lines. They come from another qube: sanitised.
    pub(super) fn collected(self) -> Vec<String> {
        let bytes = self.0.recv_timeout(PATIENCE).unwrap_or_default();
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let lines: Vec<String> = lines.map(|line| printable(line).to_string()).collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().to_vec()
    }
}
