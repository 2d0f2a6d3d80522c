//! Starting a service (spec/qrexec-exec.md, sections 3 to 5).

use super::account::own_user_name;
use super::command::{Action, Command, ServiceCommand};
use super::config::Config;
use super::error::{ExecError, shown};
use super::lookup::{Located, SearchPath, locate};
use super::tcp::TcpLink;
use crate::data;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};

/// Where services are started; decides about user, standard error and the messages of a failed start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a qube, by its agent.
    Qube,
    /// In dom0, by the daemon of the calling qube.
    Dom0,
}

/// What starting a service depends on besides the command: read from the environment once, at the program's edge.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where this is.
    pub place: Place,
    /// Directories of services.
    pub services: SearchPath,
    /// Directories of rpc-config files.
    pub configs: SearchPath,
    /// In a qube: the user that this process runs as, the only one that services can run as.
    pub own_user: Option<Vec<u8>>,
}

/// A service that runs, and nobody listens to it: to be kept until its start was reported.
#[derive(Debug)]
pub struct Detached {
    /// The process, which whoever has time should wait for; `None` for socket and TCP services.
    pub child: Option<Child>,
    /// The connection of a socket or TCP service, which ends when this value goes.
    _connection: Option<OwnedFd>,
}

impl Surroundings {
    /// Reads `QREXEC_SERVICE_PATH`, `QUBES_RPC_CONFIG_PATH` and the own user.
    #[must_use]
    pub fn from_env(place: Place) -> Self {
        Self {
            place,
            services: SearchPath::services_from_env(),
            configs: SearchPath::configs_from_env(),
            own_user: if place == Place::Qube { own_user_name() } else { None },
        }
    }
}

impl Command {
    /// The configuration of the service; that of a legacy command is the default.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn config(&self, surroundings: &Surroundings) -> Result<Config, ExecError> {
        match &self.action {
            Action::Service(service) => Config::load(service, &surroundings.configs),
            Action::Legacy(_) => Ok(Config::default()),
        }
    }
}

/// Starts what a command names, to be served over a data channel. `wish` is told which program it is of.
///
/// # Errors
/// Any [`ExecError`]; its exit code goes to the caller, as [`data::Service::Failed`].
pub fn start(
    command: &Command,
    config: &Config,
    surroundings: &Surroundings,
    wish: Option<&data::Wish>,
) -> Result<data::Service, ExecError> {
    check_user(command, config, surroundings)?;
    let service = match &command.action {
        Action::Service(service) => service,
        Action::Legacy(_) if surroundings.place == Place::Dom0 => return Err(ExecError::LegacyInDom0),
        Action::Legacy(text) => return spawn(shell(text), Path::new(SHELL), surroundings.place, wish),
    };
    match locate(service, &surroundings.services)? {
        Located::Executable(path) => spawn(program(service, config, &path)?, &path, surroundings.place, wish),
        Located::Socket(path) => Ok(socket_service(connect_unix(&path, service, config)?, config)),
        Located::Tcp(link) => Ok(socket_service(connect_tcp(&link, service, config)?, config)),
    }
}

/// Starts what a command names, with nobody connected (JUST_EXEC, section 5.4). Standard error goes where ours goes.
///
/// # Errors
/// Any [`ExecError`].
pub fn start_detached(
    command: &Command,
    config: &Config,
    surroundings: &Surroundings,
) -> Result<Detached, ExecError> {
    check_user(command, config, surroundings)?;
    let detached = |child| Detached { child: Some(child), _connection: None };
    let service = match &command.action {
        Action::Service(service) => service,
        Action::Legacy(_) if surroundings.place == Place::Dom0 => return Err(ExecError::LegacyInDom0),
        Action::Legacy(text) => {
            let mut shell = shell(text);
            shell.stderr(Stdio::null());
            return spawn_detached(shell, Path::new(SHELL), surroundings.place).map(detached);
        }
    };
    let connection = match locate(service, &surroundings.services)? {
        Located::Executable(path) => {
            return spawn_detached(program(service, config, &path)?, &path, surroundings.place).map(detached);
        }
        Located::Socket(path) => connect_unix(&path, service, config)?,
        Located::Tcp(link) => connect_tcp(&link, service, config)?,
    };
    Ok(Detached { child: None, _connection: Some(connection) })
}

/// There is no way to become another user here: that takes PAM, which the agent does not use.
fn check_user(command: &Command, config: &Config, surroundings: &Surroundings) -> Result<(), ExecError> {
    if surroundings.place == Place::Dom0 {
        return Ok(());
    }
    let wanted = config.force_user.as_ref().or(command.user.as_ref());
    if wanted.is_some() && wanted == surroundings.own_user.as_ref() {
        return Ok(());
    }
    Err(ExecError::OtherUser {
        wanted: wanted.cloned().unwrap_or_default(),
        own: surroundings.own_user.clone().unwrap_or_default(),
    })
}

/// The program of a service with arguments and environment (section 5.1).
fn program(
    service: &ServiceCommand,
    config: &Config,
    path: &Path,
) -> Result<std::process::Command, ExecError> {
    let parties = service.parties()?;
    let ignored = [
        (config.skip_service_descriptor, "skip-service-descriptor"),
        (config.exit_on_client_eof, "exit-on-client-eof"),
        (config.exit_on_service_eof, "exit-on-service-eof"),
    ];
    for (_, key) in ignored.iter().filter(|(set, _)| *set) {
        log::warn!("{service}: {key}=true is ignored, the service is a program");
    }
    let mut program = std::process::Command::new(path);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_stripped(name)) {
        program.env_remove(name);
    }
    let mut set = |name: &str, value: &[u8]| {
        program.env(name, OsStr::from_bytes(value));
    };
    set("QREXEC_SERVICE_FULL_NAME", service.full_name());
    set("QREXEC_REMOTE_DOMAIN", parties.source);
    set("QREXEC_REQUESTED_TARGET_TYPE", parties.requested.map_or(b"", |(kind, _)| kind));
    match parties.requested {
        Some((b"name", target)) => set("QREXEC_REQUESTED_TARGET", target),
        Some((b"keyword", target)) => set("QREXEC_REQUESTED_TARGET_KEYWORD", target),
        _ => {}
    }
    if let Some(argument) = service.argument() {
        set("QREXEC_SERVICE_ARGUMENT", argument);
        if !argument.is_empty() {
            program.arg(OsStr::from_bytes(argument));
        }
    }
    Ok(program)
}

/// QREXEC_AGENT_SOCKET is no variable of upstream's: it is how programs of a qube without its own file system find their
/// agent, so a service that calls another needs it.
fn is_stripped(name: &OsString) -> bool {
    let kept: [&[u8]; 3] = [b"QREXEC_SERVICE_PATH", b"QREXEC_AGENT_PID", b"QREXEC_AGENT_SOCKET"];
    name.as_bytes().starts_with(b"QREXEC") && !kept.contains(&name.as_bytes())
}

fn shell(text: &[u8]) -> std::process::Command {
    let mut shell = std::process::Command::new(SHELL);
    shell.arg0("sh").arg("-c").arg(OsStr::from_bytes(text));
    shell
}

/// Two socket pairs rather than pipes, so that a service may use one of them both ways. All our ends are
/// close-on-exec and the child's ends are closed here with `program`, so that each side sees the other's end.
fn spawn(
    mut program: std::process::Command,
    path: &Path,
    place: Place,
    wish: Option<&data::Wish>,
) -> Result<data::Service, ExecError> {
    let (stdin, child_stdin) = UnixStream::pair().map_err(ExecError::Pipe)?;
    let (stdout, child_stdout) = UnixStream::pair().map_err(ExecError::Pipe)?;
    program.stdin(OwnedFd::from(child_stdin)).stdout(OwnedFd::from(child_stdout));
    if place == Place::Qube {
        program.stderr(Stdio::piped());
        name_agent(&mut program);
    }
    let mut child = program.spawn().map_err(|cause| ExecError::Spawn(path.to_owned(), cause))?;
    if let Some(wish) = wish {
        wish.program_is(child.id());
    }
    let stderr = child.stderr.take().map(OwnedFd::from);
    Ok(data::Service::Process { child, stdin: stdin.into(), stdout: stdout.into(), stderr })
}

/// Whom a program asks for one socket (spec/qrexec-wire.md 7.6).
fn name_agent(program: &mut std::process::Command) {
    program.env("QREXEC_AGENT_PID", std::process::id().to_string());
}

fn spawn_detached(mut program: std::process::Command, path: &Path, place: Place) -> Result<Child, ExecError> {
    program.stdin(Stdio::null()).stdout(Stdio::null());
    if place == Place::Qube {
        name_agent(&mut program);
    }
    program.spawn().map_err(|cause| ExecError::Spawn(path.to_owned(), cause))
}

fn socket_service(stream: OwnedFd, config: &Config) -> data::Service {
    data::Service::Socket {
        stream,
        exit_on_client_eof: config.exit_on_client_eof,
        exit_on_service_eof: config.exit_on_service_eof,
    }
}

fn connect_unix(path: &Path, service: &ServiceCommand, config: &Config) -> Result<OwnedFd, ExecError> {
    let failed = |cause| ExecError::Connect(shown(path), cause);
    let mut socket = os::socket::connect(path).map_err(failed)?;
    socket.write_all(&descriptor(service, config)).map_err(failed)?;
    Ok(socket.into())
}

fn connect_tcp(link: &TcpLink, service: &ServiceCommand, config: &Config) -> Result<OwnedFd, ExecError> {
    let address = link.address(service.argument())?;
    let failed = |cause| ExecError::Connect(address.to_string(), cause);
    let mut socket = TcpStream::connect(address).map_err(failed)?;
    socket.write_all(&descriptor(service, config)).map_err(failed)?;
    Ok(socket.into())
}

/// What a socket service is told first: the command after `QUBESRPC ` and a NUL.
fn descriptor(service: &ServiceCommand, config: &Config) -> Vec<u8> {
    if config.skip_service_descriptor { Vec::new() } else { [service.text(), b"\0"].concat() }
}

/// Starts `qubes.WaitForSession`, which ends when the session of `user` is there (section 7). Without a user, as in dom0,
/// its standard input is empty.
///
/// # Errors
/// [`ExecError`]; the call should then be run at once.
pub fn start_wait_for_session(
    source: &[u8],
    user: Option<&[u8]>,
    surroundings: &Surroundings,
) -> Result<Child, ExecError> {
    let entry = surroundings.services.find(WAIT_FOR_SESSION)?;
    let Some(entry) = entry else { return Err(ExecError::NotFound(WAIT_FOR_SESSION.to_vec())) };
    let mut program = std::process::Command::new(&entry.path);
    program.arg0(OsStr::from_bytes(WAIT_FOR_SESSION)).env("QREXEC_REMOTE_DOMAIN", OsStr::from_bytes(source));
    program.stdin(if user.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = program.spawn().map_err(|cause| ExecError::Spawn(entry.path.clone(), cause))?;
    if let (Some(user), Some(mut stdin)) = (user, child.stdin.take()) {
        if let Err(error) = stdin.write_all(&[user, b"\n"].concat()) {
            log::debug!("{} does not read its user: {error}", shown(&entry.path));
        }
    }
    Ok(child)
}

const SHELL: &str = "/bin/sh";
const WAIT_FOR_SESSION: &[u8] = b"qubes.WaitForSession";
