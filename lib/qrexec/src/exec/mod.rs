//! From the text of a command to a running service: used by the agent in a qube and by the daemon for services in dom0.
//!
//! The order of use is that of the modules: parse the text ([`Command`]), read the service's configuration
//! ([`Config`]), look the service up ([`Located`]), start it ([`start`]). [`begin`] does all but the first in one go.
//! Rules and their sources: spec/qrexec-exec.md.

mod account;
mod command;
mod config;
mod error;
mod lookup;
//mod start;
mod tcp;

pub use account::own_user_name;
pub use command::{Action, Command, Parties, ServiceCommand};
pub use config::{Config, ConfigError};
pub use error::{ExecError, NOT_FOUND, PROBLEM};
pub use lookup::{Located, SearchPath, locate};
//pub use start::{Place, Surroundings, begin, begin_detached, start, start_detached};
