//! What a disposable says on stderr: sanitised, cut, one line at a time (promise P7).

use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use trace::{Event, Reporter};

/// Where stderr goes: a pipe whose lines go to our stderr (the daemon's log) and to the story, or stderr itself.
pub(super) struct Words {
    writer: OwnedFd,
    reader: Option<JoinHandle<()>>,
}

/// One call may fill the log with this many bytes; the rest is read and dropped.
const MOST: u64 = 16 * 1024;
/// A longer line is broken, in bytes.
const LONGEST_LINE: u64 = 400;

impl Words {
    pub(super) fn of(name: &str, story: &Reporter) -> io::Result<Self> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let name = name.to_owned();
        let story = story.try_clone();
        let read = move || relay(File::from(reader), &name, &story);
        let reader = std::thread::Builder::new().name("words".into()).spawn(read)?;
        Ok(Self { writer, reader: Some(reader) })
    }

    /// Not relayed: straight to our stderr.
    pub(super) fn straight() -> io::Result<Self> {
        Ok(Self { writer: io::stderr().as_fd().try_clone_to_owned()?, reader: None })
    }

    pub(super) fn writer(&self) -> io::Result<OwnedFd> {
        self.writer.try_clone()
    }

    /// Waits until what was said has been told.
    pub(super) fn finish(self) {
        drop(self.writer);
        if let Some(reader) = self.reader {
            if reader.join().is_err() {
                log::warn!("the thread that relays stderr ended early");
            }
        }
    }
}

fn relay(pipe: File, name: &str, story: &Reporter) {
    let mut input = BufReader::new(pipe);
    let mut told = 0;
    loop {
        let mut line = Vec::new();
        match input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(length) => told += length as u64,
        }
        if told > MOST {
            tell(name, "… the rest of what it says is not shown", story);
            // The disposable must still be able to write, or it would hang.
            drop(io::copy(&mut input, &mut io::sink()));
            return;
        }
        let text = names::printable(line.trim_ascii_end()).to_string();
        if text.is_empty() {
            continue;
        }
        tell(name, &text, story);
    }
}

fn tell(name: &str, text: &str, story: &Reporter) {
    // Nobody may be there to read it.
    drop(io::stderr().write_all(format!("{name}: {text}\n").as_bytes()));
    story.report(&Event::now("qube", "says", name, text));
}
