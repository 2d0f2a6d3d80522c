//! Asking the policy (spec/qrexec-wire.md 9.1, 9.2).

use policy::protocol::{Grant, REPLY_LIMIT, Reply, ReplyError, Request};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Whom to ask.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The policy daemon's socket.
    pub socket: PathBuf,
    /// Asked when that gives no usable answer, if this program exists.
    pub program: PathBuf,
}

/// Why there is no answer. The call is refused.
#[derive(Debug)]
pub enum QuestionError {
    /// The policy daemon gave no usable answer, and the fallback program does not exist.
    NoAnswer {
        /// The policy daemon's socket.
        socket: PathBuf,
        /// What was wrong there.
        cause: AnswerError,
    },
    /// The fallback program could not be started, or its answer not be read.
    Program(PathBuf, io::Error),
    /// The fallback program failed.
    Status(PathBuf, ExitStatus),
    /// The fallback program's answer is malformed.
    Malformed(PathBuf, ReplyError),
}

/// Why the policy daemon's answer cannot be used.
#[derive(Debug)]
pub enum AnswerError {
    /// It cannot be reached, or the connection broke.
    Socket(io::Error),
    /// It answered something else.
    Reply(ReplyError),
}

impl fmt::Display for QuestionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { socket, cause } => {
                write!(f, "asking the policy daemon at {}: {cause}; is it running?", socket.display())
            }
            Self::Program(path, cause) => write!(f, "asking {}: {cause}", path.display()),
            Self::Status(path, status) => write!(f, "asking {}: it failed with {status}", path.display()),
            Self::Malformed(path, cause) => write!(f, "asking {}: {cause}", path.display()),
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(cause) => cause.fmt(f),
            Self::Reply(cause) => cause.fmt(f),
        }
    }
}

impl std::error::Error for QuestionError {}

impl Policy {
    /// Asks whether a call is allowed. Waits as long as the policy daemon does, which may be asking a person.
    ///
    /// # Errors
    /// See [`QuestionError`].
    pub fn ask(&self, request: &Request) -> Result<Reply, QuestionError> {
        match self.ask_daemon(request) {
            Ok(reply) => Ok(reply),
            Err(cause) if self.program.is_file() => {
                log::warn!(
                    "policy daemon at {}: {cause}; asking {}",
                    self.socket.display(),
                    self.program.display()
                );
                self.ask_program(request)
            }
            Err(cause) => Err(QuestionError::NoAnswer { socket: self.socket.clone(), cause }),
        }
    }

    fn ask_daemon(&self, request: &Request) -> Result<Reply, AnswerError> {
        let exchange = || -> io::Result<Vec<u8>> {
            let mut socket = os::socket::connect(&self.socket)?;
            socket.write_all(&request.to_bytes())?;
            read_answer(&mut socket)
        };
        let bytes = exchange().map_err(AnswerError::Socket)?;
        Reply::parse(&bytes).map_err(AnswerError::Reply)
    }

    /// The requested source is lost on this path: the program has no place for it.
    fn ask_program(&self, request: &Request) -> Result<Reply, QuestionError> {
        let failed = |cause| QuestionError::Program(self.program.clone(), cause);
        let (bytes, status) = run(&self.program, request).map_err(failed)?;
        if !status.success() {
            return Err(QuestionError::Status(self.program.clone(), status));
        }
        Reply::parse(&bytes).map_err(|cause| QuestionError::Malformed(self.program.clone(), cause))
    }
}

fn run(program: &Path, request: &Request) -> io::Result<(Vec<u8>, ExitStatus)> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut child = {
        let theirs = OwnedFd::from(theirs);
        Command::new(program)
            .arg0("qrexec-policy-exec")
            .args(["--", &request.source, &request.intended_target, &request.service_and_arg])
            .stdin(theirs.try_clone()?)
            .stdout(theirs)
            .spawn()?
    };
    let answer = read_answer(&mut ours);
    drop(ours);
    let status = child.wait()?;
    Ok((answer?, status))
}

/// Up to the end, but no more than one byte above what an answer may have.
fn read_answer(socket: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let limit = u64::try_from(REPLY_LIMIT).unwrap_or(u64::MAX);
    socket.take(limit).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Command text of an allowed call (spec/qrexec-wire.md 6.2, 6.3 and 9.3).
///
/// `source` and `service` are the calling qube and what it asked for; the answer may replace both.
#[must_use]
pub fn command(grant: &Grant, source: &str, service: &str) -> String {
    let source = grant.policy_source.as_deref().unwrap_or(source);
    let service = grant.service.as_deref().unwrap_or(service);
    let plus = if service.contains('+') { "" } else { "+" };
    if !grant.is_for_dom0() {
        return format!("{}:QUBESRPC {service}{plus} {source}", grant.user);
    }
    let (kind, target) = match grant.requested_target.strip_prefix('@') {
        Some(keyword) => ("keyword", keyword),
        None => ("name", grant.requested_target.as_str()),
    };
    format!("QUBESRPC {service}{plus} {source} {kind} {target}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(target: &str, requested: &str) -> Grant {
        Grant {
            user: "DEFAULT".into(),
            target: target.into(),
            target_uuid: None,
            autostart: true,
            requested_target: requested.into(),
            service: None,
            policy_source: None,
        }
    }

    #[test]
    fn command_texts() {
        for (target, requested, service, text) in [
            ("vault", "vault", "a.B", "DEFAULT:QUBESRPC a.B+ work"),
            ("vault", "@default", "a.B+c+d", "DEFAULT:QUBESRPC a.B+c+d work"),
            ("@dispvm:dvm", "@dispvm", "a.B+", "DEFAULT:QUBESRPC a.B+ work"),
            ("dom0", "@dispvm", "a.B", "QUBESRPC a.B+ work keyword dispvm"),
            ("@adminvm", "vault", "a.B+c", "QUBESRPC a.B+c work name vault"),
            ("uuid:00000000-0000-0000-0000-000000000000", "dom0", "a", "QUBESRPC a+ work name dom0"),
        ] {
            assert_eq!(command(&grant(target, requested), "work", service), text);
        }
    }

    #[test]
    fn the_answer_replaces_service_and_source() {
        let replaced = Grant {
            service: Some("x.Relay+y".into()),
            policy_source: Some("far".into()),
            ..grant("relay", "remote")
        };
        assert_eq!(command(&replaced, "work", "a.B"), "DEFAULT:QUBESRPC x.Relay+y far");
    }
}
