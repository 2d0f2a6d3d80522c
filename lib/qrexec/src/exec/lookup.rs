//! Where a service is (spec/qrexec-exec.md, section 2).

use super::command::ServiceCommand;
use super::error::ExecError;
use super::tcp::TcpLink;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

/// A list of directories that are searched in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPath(Vec<PathBuf>);

/// What a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// A program. Whether it may be executed shows when it is: the answer is 125 in both cases.
    Executable(PathBuf),
    /// A Unix stream socket that somebody listens at.
    Socket(PathBuf),
    /// A TCP port.
    Tcp(TcpLink),
}

/// Looks a service up: the full descriptor in every directory, then the service without argument in every directory.
///
/// # Errors
/// [`ExecError::NotFound`] (127) when no directory has it; [`ExecError::LookUp`], [`ExecError::PathTooLong`] and
/// [`ExecError::BadAddress`] (125) as soon as a directory cannot be searched.
pub fn locate(command: &ServiceCommand, path: &SearchPath) -> Result<Located, ExecError> {
    let found = match path.find(&command.descriptor())? {
        Some(entry) => Some(entry),
        None => path.find(command.name())?,
    };
    let Some(entry) = found else { return Err(ExecError::NotFound(command.full_name().to_vec())) };
    Ok(match entry.kind {
        Kind::Link(text) => Located::Tcp(TcpLink::parse(text.as_bytes())?),
        Kind::Socket => Located::Socket(entry.path),
        Kind::Other => Located::Executable(entry.path),
    })
}

/// A name found in one of the directories.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A symbolic link to `/dev/tcp…`; its text.
    Link(OsString),
    Socket,
    Other,
}

impl SearchPath {
    /// Splits a list at `:`; repeated `:` count as one, and a leading one names the root directory.
    #[must_use]
    pub fn parse(list: &OsStr) -> Self {
        let bytes = list.as_bytes();
        let root = bytes.starts_with(b":").then(|| PathBuf::from("/"));
        let named = bytes.split(|&byte| byte == b':').filter(|part| !part.is_empty());
        Self(root.into_iter().chain(named.map(|part| PathBuf::from(OsStr::from_bytes(part)))).collect())
    }

    /// The directories of services: `QREXEC_SERVICE_PATH`, else `/run/qubes-rpc:/usr/local/etc/qubes-rpc:/etc/qubes-rpc`.
    #[must_use]
    pub fn services_from_env() -> Self {
        Self::from_env("QREXEC_SERVICE_PATH", "/run/qubes-rpc:/usr/local/etc/qubes-rpc:/etc/qubes-rpc")
    }

    /// The directories of rpc-config files: `QUBES_RPC_CONFIG_PATH`, else
    /// `/run/qubes/rpc-config:/usr/local/etc/qubes/rpc-config:/etc/qubes/rpc-config`.
    #[must_use]
    pub fn configs_from_env() -> Self {
        let default = "/run/qubes/rpc-config:/usr/local/etc/qubes/rpc-config:/etc/qubes/rpc-config";
        Self::from_env("QUBES_RPC_CONFIG_PATH", default)
    }

    fn from_env(variable: &str, default: &str) -> Self {
        Self::parse(&std::env::var_os(variable).unwrap_or_else(|| default.into()))
    }

    /// The first entry of this name; `None` when no directory has one. A dangling symbolic link counts as absent,
    /// unless it is a TCP service. A name that no file can have (longer than 255 bytes, or with a slash) is absent.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Entry>, ExecError> {
        if name.len() > LONGEST_FILE_NAME || name.contains(&b'/') {
            return Ok(None);
        }
        for directory in &self.0 {
            let path = directory.join(OsStr::from_bytes(name));
            if path.as_os_str().len() > LONGEST_PATH {
                return Err(ExecError::PathTooLong(path));
            }
            if let Some(entry) = examine(path)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

fn examine(path: PathBuf) -> Result<Option<Entry>, ExecError> {
    let looked = path.symlink_metadata().and_then(|metadata| {
        if !metadata.is_symlink() {
            return Ok(Kind::of(&metadata));
        }
        let text = path.read_link()?.into_os_string().into_vec();
        if text == b"/dev/tcp" || text.starts_with(b"/dev/tcp/") {
            return Ok(Kind::Link(OsString::from_vec(text)));
        }
        Ok(Kind::of(&path.metadata()?))
    });
    match looked {
        Ok(kind) => Ok(Some(Entry { path, kind })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ExecError::LookUp(path, error)),
    }
}

impl Kind {
    fn of(metadata: &std::fs::Metadata) -> Self {
        if metadata.file_type().is_socket() { Self::Socket } else { Self::Other }
    }
}

const LONGEST_FILE_NAME: usize = 255;
const LONGEST_PATH: usize = 1023;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Action, Command};
    use std::fs::{create_dir, write};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn look(list: &str, name: &str) -> Result<Located, i32> {
        let text = format!("QUBESRPC {name} source");
        let Action::Service(command) = Command::parse_dom0(text.as_bytes()).unwrap().action else { panic!() };
        locate(&command, &SearchPath::parse(OsStr::new(list))).map_err(|error| error.exit_code())
    }

    fn executable(path: &Path) -> Result<Located, i32> {
        Ok(Located::Executable(path.to_owned()))
    }

    #[test]
    fn lists() {
        let path = |list: &str| SearchPath::parse(OsStr::new(list)).0;
        assert_eq!(path("/a::/b:"), [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(path(":/b"), [PathBuf::from("/"), PathBuf::from("/b")]);
        assert!(path("").is_empty());
    }

    #[test]
    fn the_full_descriptor_anywhere_wins_over_the_service() {
        let top = tempfile::tempdir().unwrap();
        let (first, second) = (top.path().join("1"), top.path().join("2"));
        create_dir(&first).unwrap();
        create_dir(&second).unwrap();
        write(first.join("X"), "").unwrap();
        write(second.join("X+a"), "").unwrap();
        let list = format!("/nonexistent:{}:{}", first.display(), second.display());
        assert_eq!(look(&list, "X+a"), executable(&second.join("X+a")));
        assert_eq!(look(&list, "X+b"), executable(&first.join("X")));
        assert_eq!(look(&list, "X"), executable(&first.join("X")));
        assert_eq!(look(&list, &format!("X+{}", "b".repeat(300))), executable(&first.join("X")));
        assert_eq!(look(&list, "X+/../X"), executable(&first.join("X")));
        assert_eq!(look(&list, "Y"), Err(127));
        assert_eq!(look(&list, "../1/X"), Err(127));
    }

    #[test]
    fn kinds() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        let list = top.path().to_str().unwrap();
        let _listener = os::socket::listen(&at("socket")).unwrap();
        symlink(at("socket"), at("linked")).unwrap();
        symlink("/nonexistent", at("dangling")).unwrap();
        symlink("loop", at("loop")).unwrap();
        symlink("/dev/tcp/127.0.0.1/80", at("tcp")).unwrap();
        symlink("/dev/tcp/", at("tcp-empty")).unwrap();
        symlink("/dev/tcpx", at("tcpx")).unwrap();
        write(at("file"), "").unwrap();
        assert_eq!(look(list, "socket"), Ok(Located::Socket(at("socket"))));
        assert_eq!(look(list, "linked"), Ok(Located::Socket(at("linked"))));
        assert!(matches!(look(list, "tcp"), Ok(Located::Tcp(_))));
        assert_eq!(look(list, "dangling"), Err(127));
        assert_eq!(look(list, "tcpx"), Err(127));
        assert_eq!(look(list, "tcp-empty"), Err(125));
        assert_eq!(look(list, "loop"), Err(125));
        assert_eq!(look(&format!("{list}/file:{list}"), "file"), Err(125), "ENOTDIR ends the search");
        assert_eq!(look(&format!("/{}", "d/".repeat(600)), "file"), Err(125));
    }
}
