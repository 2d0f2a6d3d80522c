//! A small client of the session's D-Bus: it listens to what is asked of applications, and asks who is there.

mod address;
mod message;

pub(super) use message::Message;
use message::{Argument, call_to_bus, take};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const BUS: &str = "org.freedesktop.DBus";
/// A bus that does not answer is no bus.
const PATIENCE: Duration = Duration::from_secs(1);
const BUFFER: usize = 64 * 1024;

/// A connection that asks and waits for each answer.
pub(super) struct Asker {
    stream: UnixStream,
    received: Vec<u8>,
    serial: u32,
}

impl Asker {
    /// Connects to the session's bus; `None` when there is none.
    pub(super) fn connect() -> Option<Self> {
        address::session().into_iter().find_map(|address| Self::begin(address.connect().ok()?).ok())
    }

    /// Introduces us. Who we are, the bus sees by itself: a user id would not be the same in every user namespace.
    fn begin(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        (&stream).write_all(b"\0AUTH EXTERNAL\r\n")?;
        {
            // Nothing comes after these lines unless it is asked for: no byte is lost with the reader.
            let mut lines = BufReader::with_capacity(512, &stream);
            expect(&mut lines, "DATA")?;
            (&stream).write_all(b"DATA\r\n")?;
            expect(&mut lines, "OK")?;
        }
        (&stream).write_all(b"BEGIN\r\n")?;
        let mut asker = Self { stream, received: Vec::new(), serial: 0 };
        asker.ask(BUS, "Hello", &[])?;
        Ok(asker)
    }

    /// Whether somebody has this name.
    pub(super) fn is_there(&mut self, name: &str) -> io::Result<bool> {
        let answer = self.ask(BUS, "NameHasOwner", &[Argument::Text(name)])?;
        answer.number().map(|number| number != 0).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The names of all who are there.
    pub(super) fn names(&mut self) -> io::Result<Vec<String>> {
        self.ask(BUS, "ListNames", &[])?.names().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Stops asking, and is shown from now on what is sent by such rules.
    pub(super) fn listen(mut self, rules: &[&str]) -> io::Result<Listener> {
        let arguments = [Argument::Texts(rules), Argument::Number(0)];
        self.ask("org.freedesktop.DBus.Monitoring", "BecomeMonitor", &arguments)?;
        self.stream.set_nonblocking(true)?;
        Ok(Listener { stream: self.stream, received: self.received })
    }

    fn ask(&mut self, interface: &str, member: &str, arguments: &[Argument<'_>]) -> io::Result<Message> {
        self.serial += 1;
        self.stream.write_all(&call_to_bus(self.serial, interface, member, arguments))?;
        let mut buffer = [0; 4096];
        loop {
            while let Some(message) = take(&mut self.received).map_err(|_| io::ErrorKind::InvalidData)? {
                // Signals come in between; an answer that is an error has no use.
                if message.reply_to == self.serial {
                    return if message.is_reply() { Ok(message) } else { Err(io::ErrorKind::Other.into()) };
                }
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
    }
}

fn expect(lines: &mut impl BufRead, word: &str) -> io::Result<()> {
    let mut line = String::new();
    lines.take(512).read_line(&mut line)?;
    if line.split_ascii_whitespace().next() == Some(word) {
        Ok(())
    } else {
        Err(io::Error::other("the bus does not let us in"))
    }
}

/// A connection that only hears.
pub(super) struct Listener {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Listener {
    /// What came since the last time. An error means that no more will come.
    pub(super) fn heard(&mut self) -> io::Result<Vec<Message>> {
        let mut buffer = vec![0; BUFFER];
        let mut heard = Vec::new();
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            while let Some(message) = take(&mut self.received).map_err(|_| io::ErrorKind::InvalidData)? {
                heard.push(message);
            }
        }
    }
}
