//! qubes.OpenInVM: takes a file from another qube, lets the user work on it, gives it back if it was changed
//! (spec/open-file.md, section 2).

use super::application::{Ended, OpenWith, Output};
use super::content::{Change, Content, Digest};
use super::failure::{Failure, OwnFailure, exit_code_of};
use super::holders::Holders;
use super::session::Session;
use super::workspace::Workspace;
use crate::exit_code::SUCCESS;
use crate::name_field::{NAME_FIELD, NameFieldError, NamedFile, decode};
use crate::say::say;
use crate::shown::grouped;
use names::{NameError, QubeName};
use std::env;
use std::fmt::{self, Display, Formatter};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;

const PROGRAM: &str = "qubes.OpenInVM";
const BUFFER: usize = 256 * 1024;

/// The whole service; the result is its exit code.
pub(crate) fn main() -> u8 {
    exit_code_of(PROGRAM, serve)
}

/// Takes these bytes as a request, as far as name and file go, in a directory below `place`: name, whether it is only to be
/// looked at, and the file's path and content while it is there. The receiving end without the call.
pub(crate) fn take_request(place: &Path, request: &[u8]) -> Result<(String, bool, PathBuf, Vec<u8>), String> {
    let (field, content) = request.split_first_chunk::<NAME_FIELD>().ok_or("too short")?;
    let named = decode(field).map_err(|error| error.to_string())?;
    let remote: QubeName = "work".parse().map_err(|error: NameError| error.to_string())?;
    let mut landing = Workspace::landing_in(vec![place.to_owned()], &remote, &named.name);
    landing.open().and_then(|()| landing.write(content)).map_err(|error| error.to_string())?;
    let spot = landing.into_spot().ok_or("no file")?;
    let file = spot.guard.file().to_owned();
    let there = std::fs::read(&file).map_err(|error| error.to_string())?;
    Ok((named.name, named.view_only, file, there))
}

fn serve() -> Result<u8, Failure<OpenError>> {
    let remote = remote()?;
    let session = Session::new().map_err(Failure::System)?;
    let open_with = OpenWith::from_environment()?;
    let named = receive_name(&session)?;
    let (workspace, content) = receive_content(&session, &remote, &named)?;
    say(PROGRAM, &format_args!("opening {} with {open_with}", named.name));
    let ended = run(&session, &open_with, &workspace, &content, &named)?;
    say(PROGRAM, &ended);
    give_back(&session, &workspace, &content, &named, ended)
}

/// Who calls. Only a name that is a qube's becomes part of a path.
fn remote() -> Result<QubeName, OpenError> {
    let remote = env::var("QREXEC_REMOTE_DOMAIN").map_err(|_| OpenError::NoRemote)?;
    remote.parse().map_err(OpenError::Remote)
}

fn receive_name(session: &Session) -> Result<NamedFile, Failure<OpenError>> {
    let mut field = [0; NAME_FIELD];
    let mut filled = 0;
    while let Some(rest) = field.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read(session, rest)? {
            0 => return Err(OpenError::NoName(filled).into()),
            count => filled += count,
        }
    }
    Ok(decode(&field).map_err(OpenError::Name)?)
}

fn receive_content(
    session: &Session,
    remote: &QubeName,
    named: &NamedFile,
) -> Result<(Workspace, Content), Failure<OpenError>> {
    let mut landing = Workspace::landing(remote, &named.name);
    let mut digest = Digest::default();
    let mut buffer = vec![0; BUFFER];
    landing.open().map_err(OpenError::Create)?;
    loop {
        let count = read(session, &mut buffer)?;
        if count == 0 {
            break;
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        digest.add(bytes);
        landing.write(bytes).map_err(|cause| OpenError::Store(landing.received(), cause))?;
    }
    let received = landing.received();
    let Some(spot) = landing.into_spot() else { return Err(OpenError::NoName(NAME_FIELD).into()) };
    if named.view_only {
        spot.file
            .set_permissions(Permissions::from_mode(0o400))
            .map_err(|cause| OpenError::Store(received, cause))?;
    }
    let content =
        Content::remember(&spot.file, &digest).map_err(|cause| OpenError::Store(received, cause))?;
    Ok((spot.guard, content))
}

fn run(
    session: &Session,
    open_with: &OpenWith,
    workspace: &Workspace,
    content: &Content,
    named: &NamedFile,
) -> Result<Ended, Failure<OpenError>> {
    if nix::sys::prctl::set_child_subreaper(true).is_err() {
        // Without it, daemons of the application are found by the file that they hold alone.
    }
    let holders = Holders::of_file(workspace.file());
    let application = open_with.start(workspace.file().as_os_str(), Output::ToStderr)?;
    let is_done = || content.is_touched(workspace.file());
    let held = |taker: Option<&str>| match taker {
        // It does not keep the file open: what it has closed, it need not tell.
        Some(taker) => {
            say(PROGRAM, &format_args!("waiting until {taker} ends, which has {} open", named.name));
        }
        None => say(PROGRAM, &format_args!("waiting until {} is closed", named.name)),
    };
    Ok(application.wait(session, &holders, &is_done, &held)?)
}

/// Sends the file if it was changed, whatever the application's exit code: the caller keeps it aside if that is not 0.
fn give_back(
    session: &Session,
    workspace: &Workspace,
    content: &Content,
    named: &NamedFile,
    ended: Ended,
) -> Result<u8, Failure<OpenError>> {
    if named.view_only {
        return Ok(ended.code());
    }
    let name = || named.name.clone();
    let failed = ended.code() != SUCCESS;
    match content.compare(workspace.file()).map_err(|cause| OpenError::Reread(name(), cause))? {
        Change::None => {}
        Change::Changed(file) => send(session, file)?,
        Change::Emptied => match named.emptied {
            Some(word) => stdout()?.write_all(word.reply()).map_err(OpenError::Reply)?,
            None => {
                // An empty reply means "unchanged" in the public protocol (M33).
                let text =
                    "is empty now, which the calling program cannot be told: the original keeps its content";
                say(PROGRAM, &format_args!("{} {text}", named.name));
            }
        },
        Change::Gone if failed => say(PROGRAM, &OpenError::Gone(name())),
        Change::NoFile if failed => say(PROGRAM, &OpenError::NoFile(name())),
        Change::Gone => return Err(OpenError::Gone(name()).into()),
        Change::NoFile => return Err(OpenError::NoFile(name()).into()),
    }
    Ok(ended.code())
}

/// Sends from a thread, so that signals and a caller that goes away are noticed meanwhile.
fn send(session: &Session, mut file: File) -> Result<(), Failure<OpenError>> {
    let mut stdout = stdout()?;
    let waker = session.waker().map_err(Failure::System)?;
    let (report, reports) = channel();
    let body = move || {
        let sent = io::copy(&mut file, &mut stdout);
        if report.send(sent).is_ok() {
            waker.wake();
        }
    };
    thread::Builder::new().name("send".into()).spawn(body).map_err(Failure::System)?;
    loop {
        if let Ok(sent) = reports.try_recv() {
            sent.map_err(OpenError::Reply)?;
            return Ok(());
        }
        session.pause(None)?;
    }
}

/// Standard output without a buffer of ours.
fn stdout() -> Result<File, Failure<OpenError>> {
    io::stdout().as_fd().try_clone_to_owned().map(File::from).map_err(Failure::System)
}

fn read(session: &Session, buffer: &mut [u8]) -> Result<usize, Failure<OpenError>> {
    Ok(session.read(buffer)?.map_err(OpenError::Read)?)
}

/// Why a file could not be opened or given back.
#[derive(Debug)]
enum OpenError {
    NoRemote,
    Remote(NameError),
    NoName(usize),
    Name(NameFieldError),
    Read(io::Error),
    Create(io::Error),
    Store(u64, io::Error),
    Reread(String, io::Error),
    Gone(String),
    NoFile(String),
    Reply(io::Error),
}

impl OwnFailure for OpenError {}

impl Display for OpenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRemote => {
                f.write_str("QREXEC_REMOTE_DOMAIN is not set: this program serves qrexec calls")
            }
            Self::Remote(error) => write!(f, "QREXEC_REMOTE_DOMAIN: {error}"),
            Self::NoName(count) => {
                write!(f, "the call ended after {count} of the {NAME_FIELD} bytes of the file name")
            }
            Self::Name(error) => error.fmt(f),
            Self::Read(cause) => write!(f, "cannot read the file from the call: {cause}"),
            Self::Create(cause) => write!(f, "cannot create a file in this qube: {cause}"),
            Self::Store(count, cause) if is_full(cause) => write!(
                f,
                "no room: this qube's disks were full after {} bytes of the file; give its template more private \
                 storage or memory",
                grouped(*count)
            ),
            Self::Store(count, cause) => {
                write!(f, "cannot store the file in this qube after {} bytes: {cause}", grouped(*count))
            }
            Self::Reread(name, cause) => write!(f, "cannot read {name} again: {cause}"),
            Self::Gone(name) => write!(f, "{name} is gone: the application removed or renamed it"),
            Self::NoFile(name) => write!(f, "{name} is no plain file any more and is not sent back"),
            Self::Reply(cause) => write!(f, "cannot send the changed file back: {cause}"),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    let full = [nix::libc::ENOSPC, nix::libc::EDQUOT, nix::libc::EFBIG];
    error.raw_os_error().is_some_and(|code| full.contains(&code))
}
