//! From the text of a command to a running service: used by the agent in a qube and by the daemon for services in dom0.
//!
//! The order of use is that of the modules: parse the text ([`Command`]), read the service's configuration
//! ([`Command::config`]), wait for a session if it says so, then look the service up and start it ([`start`]).
//! Rules and their sources: spec/qrexec-exec.md.
//!
//! Services are started directly, as the user that this process runs as. Becoming another user takes PAM, which is not
//! built: a call for another user ends with 125 and a line in the log. There is no fork server, and no `logger` process
//! is started for standard error.
//!
//! ```no_run
//! use qrexec::data::Service;
//! use qrexec::exec::{Command, Place, Surroundings, start};
//!
//! let surroundings = Surroundings::from_env(Place::Dom0);
//! let started = Command::parse_dom0(b"QUBESRPC qubes.OpenInVM+ work keyword dispvm")
//!     .and_then(|command| start(&command, &command.config(&surroundings)?, &surroundings, None));
//! let service = started.unwrap_or_else(|error| {
//!     log::error!("{error}");
//!     Service::Failed { code: error.exit_code(), dom0: true }
//! });
//! # drop(service);
//! ```

mod account;
mod command;
mod config;
mod error;
mod lookup;
mod start;
mod tcp;

pub use account::own_user_name;
pub use command::{Action, Command, Parties, ServiceCommand};
pub use config::{Config, ConfigError};
pub use error::{ExecError, NOT_FOUND, PROBLEM};
pub use lookup::{Located, SearchPath, locate};
pub use start::{Detached, Place, Surroundings, start, start_detached, start_wait_for_session};
pub use tcp::TcpLink;
