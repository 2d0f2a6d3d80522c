//! Why a service could not be started.

use super::config::ConfigError;
use names::printable;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Exit code that tells a caller that there is no such service (spec/qrexec-wire.md 1.3).
pub const NOT_FOUND: i32 = 127;
/// Exit code that tells a caller of trouble inside qrexec (spec/qrexec-wire.md 1.3).
pub const PROBLEM: i32 = 125;

/// Why a service could not be started; [`ExecError::exit_code`] is what the caller learns.
#[derive(Debug)]
pub enum ExecError {
    /// The text of the command breaks this rule.
    BadCommand(&'static str),
    /// No service directory has this service.
    NotFound(Vec<u8>),
    /// A service directory could not be searched.
    LookUp(PathBuf, io::Error),
    /// The path of a service would be longer than 1023 bytes.
    PathTooLong(PathBuf),
    /// The rpc-config file of a service could not be read.
    ReadConfig(PathBuf, io::Error),
    /// The rpc-config file of a service is broken.
    BadConfig(PathBuf, ConfigError),
    /// The call is for another user than the one that this process runs as.
    OtherUser {
        /// The user that was asked for.
        wanted: Vec<u8>,
        /// The user that we are.
        own: Vec<u8>,
    },
    /// A TCP service whose address does not hold; the rule that it breaks.
    BadAddress(&'static str),
    /// The socket of a service did not answer; path or address, and cause.
    Connect(String, io::Error),
    /// A socket pair could not be made.
    Pipe(io::Error),
    /// The program could not be started.
    Spawn(PathBuf, io::Error),
    /// Dom0 runs no shell commands on behalf of others.
    LegacyInDom0,
}

impl ExecError {
    /// The exit code that the caller gets: 127 service not found, 125 anything else.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound(_) => NOT_FOUND,
            // A missing interpreter or a file that vanished after the look-up (spec/qrexec-exec.md, section 2).
            Self::Spawn(_, cause) if cause.kind() == io::ErrorKind::NotFound => NOT_FOUND,
            _ => PROBLEM,
        }
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadCommand(rule) => write!(f, "the command cannot be parsed: {rule}"),
            Self::NotFound(service) => {
                write!(f, "service {} is in none of the service directories", printable(service))
            }
            Self::LookUp(path, cause) => write!(f, "looking at {} failed: {cause}", shown(path)),
            Self::PathTooLong(path) => write!(f, "the path {} is longer than 1023 bytes", shown(path)),
            Self::ReadConfig(path, cause) => {
                write!(f, "reading the service configuration {} failed: {cause}", shown(path))
            }
            Self::BadConfig(path, cause) => {
                write!(f, "the service configuration {} is broken: {cause}", shown(path))
            }
            Self::OtherUser { wanted, own } => write!(
                f,
                "the call is for user \"{}\", but this program runs as \"{}\" and cannot change that",
                printable(wanted),
                printable(own)
            ),
            Self::BadAddress(rule) => write!(f, "the address of the TCP service does not hold: {rule}"),
            Self::Connect(to, cause) => write!(f, "connecting to the service at {to} failed: {cause}"),
            Self::Pipe(cause) => write!(f, "making the service's standard streams failed: {cause}"),
            Self::Spawn(path, cause) => write!(f, "starting {} failed: {cause}", shown(path)),
            Self::LegacyInDom0 => write!(f, "dom0 runs services only, no other commands"),
        }
    }
}

impl std::error::Error for ExecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::LookUp(_, cause)
            | Self::ReadConfig(_, cause)
            | Self::Connect(_, cause)
            | Self::Pipe(cause)
            | Self::Spawn(_, cause) => Some(cause),
            Self::BadConfig(_, cause) => Some(cause),
            _ => None,
        }
    }
}

/// Paths end in names that a caller chose.
pub(super) fn shown(path: &Path) -> String {
    let text: &OsStr = path.as_os_str();
    printable(text.as_bytes()).to_string()
}
