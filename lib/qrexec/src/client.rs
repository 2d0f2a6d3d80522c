//! dom0 asks a qube's daemon to run something (spec/qrexec-wire.md, sections 4, 6.1 to 6.3).

mod accepted;
mod call;
mod error;

pub use accepted::Accepted;
pub use call::{Call, Connected};
pub use error::ClientError;

use crate::wire::{Channel, Decoder, Exec, Ident, Message, WireError, agree_client, limit};
use names::DomId;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Where the daemons and the data vchans are.
#[derive(Debug, Clone)]
pub struct Client {
    /// Directory of the daemons' sockets, `/var/run/qubes` on Qubes OS.
    pub socket_dir: PathBuf,
    /// Our side of data vchans.
    pub vchan: vchan::Config,
}

impl Client {
    /// Asks the daemon of `target` (a name, a decimal domain id, or `uuid:…`) to run `command`, for example
    /// `DEFAULT:QUBESRPC qubes.OpenInVM+ work`, with its streams joined to a data vchan.
    ///
    /// The data vchan's server is there when this returns.
    ///
    /// # Errors
    /// [`ClientError`]: nobody serves that qube, the daemon refused, or the data vchan could not be made.
    pub fn start(&self, target: &str, command: &str) -> Result<Call, ClientError> {
        self.begin(target, command, Message::ExecCmdline)
    }

    /// As [`Self::start`], for a command whose streams are not joined: only an exit code comes back.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn just_exec(&self, target: &str, command: &str) -> Result<Call, ClientError> {
        self.begin(target, command, Message::JustExec)
    }

    /// Asks the daemon of `target` to run `command` for another domain, `caller`, which will serve the data vchan
    /// (spec/qrexec-wire.md 6.2).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_for(&self, caller: DomId, target: &str, command: &str) -> Result<Accepted, ClientError> {
        check_command(target, command)?;
        let exec = Exec::command(caller.get().into(), 0, command.as_bytes());
        self.ask(target, &Message::ExecCmdline(exec))
    }

    /// Tells the daemon of `source` that its request `ident` was allowed and that the data connection's other end is
    /// `domain` at `port`, which comes back. With port 0 the daemon chooses one (spec/qrexec-wire.md 6.3), and the answer
    /// names the domain of `source`. With another port it gives no answer, and cannot refuse so that we would notice (4).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn service_connect(
        &self,
        source: &str,
        domain: DomId,
        port: u16,
        ident: Ident,
    ) -> Result<Accepted, ClientError> {
        let message = Message::ServiceConnect(Exec::request(domain.get().into(), port.into(), ident));
        if port == 0 {
            return self.ask(source, &message);
        }
        let mut line = self.dial(source, &message)?;
        // Were we to close before it has greeted us, it would take us for gone and not read on.
        line.hello()?;
        Ok(Accepted { target: source.to_owned(), domain, port, socket: line.socket })
    }

    fn begin(&self, target: &str, command: &str, kind: fn(Exec) -> Message) -> Result<Call, ClientError> {
        check_command(target, command)?;
        let message = kind(Exec::command(DomId::DOM0.get().into(), 0, command.as_bytes()));
        Call::bind(&self.vchan, self.ask(target, &message)?)
    }

    fn ask(&self, target: &str, message: &Message) -> Result<Accepted, ClientError> {
        let mut line = self.dial(target, message)?;
        line.hello()?;
        let answer = line.next()?;
        let Some(exec) = answer.exec() else { return Err(line.closed()) };
        let port = u16::try_from(exec.port).ok().filter(|_| limit::is_data_port(exec.port));
        match (DomId::try_from(exec.domain), port) {
            (Ok(domain), Some(port)) if answer.kind() == message.kind() => {
                Ok(Accepted { target: target.to_owned(), domain, port, socket: line.socket })
            }
            _ => Err(ClientError::BadAnswer {
                target: target.to_owned(),
                domain: exec.domain,
                port: exec.port,
            }),
        }
    }

    /// Connects and says all that we have to say at once: the daemon takes it one after the other.
    fn dial(&self, target: &str, message: &Message) -> Result<Line, ClientError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if target.is_empty() || target.len() > LONGEST_TARGET || !target.bytes().all(is_name) {
            let target = names::printable(target.as_bytes()).to_string();
            return Err(ClientError::BadTarget { target: target.chars().take(LONGEST_TARGET).collect() });
        }
        let path = self.socket_dir.join(format!("{}{target}", qubes_qrexec_sys::path::DAEMON_SOCKET_PREFIX));
        let mut socket = match os::socket::connect(&path) {
            Ok(socket) => socket,
            Err(source) => {
                return Err(match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        ClientError::NotRunning { target: target.to_owned() }
                    }
                    _ => ClientError::System { step: "connecting to", path, source },
                });
            }
        };
        socket
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| socket.set_write_timeout(Some(PATIENCE)))
            .map_err(|source| ClientError::System { step: "preparing the connection to", path, source })?;
        let mut bytes = Message::Hello { version: limit::CLIENT_PROTOCOL_VERSION }.to_bytes();
        bytes.extend_from_slice(&message.to_bytes());
        let written = socket.write_all(&bytes);
        let line = Line { target: target.to_owned(), socket, decoder: Decoder::new(Channel::Hello) };
        match written {
            Ok(()) => Ok(line),
            Err(source) => Err(line.broken(&source)),
        }
    }
}

/// A connection to a daemon whose answers are awaited.
struct Line {
    target: String,
    socket: UnixStream,
    decoder: Decoder,
}

impl Line {
    fn hello(&mut self) -> Result<(), ClientError> {
        let Message::Hello { version } = self.next()? else { return Err(self.closed()) };
        agree_client(version).map_err(|source| self.wrong(source))?;
        self.decoder.switch(Channel::DaemonToClient);
        Ok(())
    }

    fn next(&mut self) -> Result<Message, ClientError> {
        loop {
            if let Some(message) = self.decoder.next().map_err(|source| self.wrong(source))? {
                return Ok(message);
            }
            let mut buffer = [0; 256];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => self.decoder.push(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// Whatever broke the connection, the daemon's end of it is gone or silent.
    fn broken(&self, error: &io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Timeout { target: self.target.clone(), step: "waiting for the qrexec daemon" }
            }
            _ => self.closed(),
        }
    }

    fn closed(&self) -> ClientError {
        ClientError::Closed { target: self.target.clone() }
    }

    fn wrong(&self, source: WireError) -> ClientError {
        ClientError::Protocol { target: self.target.clone(), source }
    }
}

fn check_command(target: &str, command: &str) -> Result<(), ClientError> {
    let longest = usize::try_from(limit::CLIENT_BODY - limit::SHORTEST_EXEC_BODY).unwrap_or(0);
    if command.len() > longest || command.contains('\0') {
        return Err(ClientError::BadCommand { target: target.to_owned(), len: command.len() });
    }
    Ok(())
}

/// `uuid:` and a UUID; names are shorter.
const LONGEST_TARGET: usize = 64;
/// A daemon answers at once unless its agent reads nothing.
const PATIENCE: Duration = Duration::from_secs(30);
