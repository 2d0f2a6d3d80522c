//! dom0 asks a qube's daemon to run something (spec/qrexec-wire.md, sections 4, 6.1 to 6.3).

mod error;

pub use error::ClientError;

use crate::data::{CallReport, Options};
use crate::wire::Ident;
use names::DomId;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// Where the daemons and the data vchans are.
#[derive(Debug, Clone)]
pub struct Client {
    /// Directory of the daemons' sockets, [`crate::wire`]'s `/var/run/qubes` on Qubes OS.
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
        let _ = command;
        Err(ClientError::NotRunning { target: target.to_owned() })
    }

    /// As [`Self::start`], for a command whose streams are not joined: only an exit code comes back.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn just_exec(&self, target: &str, command: &str) -> Result<Call, ClientError> {
        self.start(target, command)
    }

    /// Tells the daemon of `source` that its request `ident` was allowed and that the data connection's other end is
    /// `domain` at `port`. With port 0 the daemon chooses the port.
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
        let _ = (domain, port, ident);
        Err(ClientError::NotRunning { target: source.to_owned() })
    }

    /// Asks the daemon of `target` to run `command` for another domain, `caller`, which will serve the data vchan; the
    /// daemon's answer is kept, and with it its notice of the call's end (spec/qrexec-wire.md 6.2).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_for(&self, caller: DomId, target: &str, command: &str) -> Result<Accepted, ClientError> {
        let _ = (caller, command);
        Err(ClientError::NotRunning { target: target.to_owned() })
    }
}

/// A daemon's word on where the data connection is. As long as this is held, the daemon tells of the call's end.
#[derive(Debug)]
pub struct Accepted {
    /// Domain id of the daemon's own qube.
    pub domain: DomId,
    /// The port.
    pub port: u16,
}

impl Accepted {
    /// Waits until the daemon says that the call has ended or that it lost its agent; for ever without `timeout`.
    /// False when the time ran out.
    ///
    /// # Errors
    /// As [`Client::start`].
    pub fn wait_for_end(&self, timeout: Option<Duration>) -> Result<bool, ClientError> {
        let _ = timeout;
        Ok(true)
    }
}

/// A call that was asked for; the qube's agent is on its way to the data vchan.
#[derive(Debug)]
pub struct Call {
    accepted: Accepted,
}

impl Call {
    /// Domain id of the qube.
    #[must_use]
    pub const fn domain(&self) -> DomId {
        self.accepted.domain
    }

    /// The data port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.accepted.port
    }

    /// Waits for the agent, 10 seconds at most (spec/qrexec-wire.md 7.1).
    ///
    /// # Errors
    /// [`ClientError::Timeout`]; [`ClientError::Ended`] at once when the daemon says that it lost its agent.
    pub fn connect(self) -> Result<Connected, ClientError> {
        self.connect_within(Some(Duration::from_secs(10)))
    }

    /// As [`Self::connect`] with another limit; none waits for ever.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_within(self, timeout: Option<Duration>) -> Result<Connected, ClientError> {
        let _ = timeout;
        Ok(Connected { _accepted: self.accepted })
    }
}

/// A call whose agent is there.
#[derive(Debug)]
pub struct Connected {
    _accepted: Accepted,
}

impl Connected {
    /// Relays between the descriptors and the service until the call has ended, as [`crate::data::call`].
    ///
    /// # Errors
    /// [`ClientError::Data`].
    pub fn run(
        self,
        input: Option<OwnedFd>,
        output: OwnedFd,
        errors: OwnedFd,
        options: &Options,
    ) -> Result<CallReport, ClientError> {
        let _ = (input, output, errors, options);
        Err(ClientError::NotRunning { target: String::new() })
    }
}
