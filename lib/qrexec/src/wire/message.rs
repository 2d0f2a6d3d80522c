//! Whole messages as values.

use super::message_type;
use qubes_qrexec_sys::{
    ExecParams, ExitCode, Header, Ident, PeerInfo, TriggerService2, TriggerService3, TriggerService4, layout,
};

/// One message. Texts are as they came: untrusted, unchecked, with their NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The sender's version.
    Hello {
        /// The version that the sender speaks.
        version: u32,
    },
    /// Run a command and join its streams to a data vchan; with an empty text the daemon's answer to its client.
    ExecCmdline(Exec),
    /// Run a command without its streams; with an empty text the daemon's answer to its client.
    JustExec(Exec),
    /// A request was allowed; with an empty text the daemon's answer to its client.
    ServiceConnect(Exec),
    /// A request was refused.
    ServiceRefused(Ident),
    /// A data connection ended.
    ConnectionTerminated {
        /// Domain id of its other end.
        domain: u32,
        /// Its port.
        port: u32,
    },
    /// A call wanted, in the form of protocol 2.
    TriggerService2(TriggerService2),
    /// A call wanted, in the form of protocol 3; [`Trigger::source`] is empty.
    TriggerService3(Trigger),
    /// A call wanted, in the form of protocol 4.
    TriggerService4(Trigger),
    /// Bytes for the service; none is their end.
    Stdin(Vec<u8>),
    /// Bytes of the service's output; none is their end.
    Stdout(Vec<u8>),
    /// Bytes of the service's errors; none is their end.
    Stderr(Vec<u8>),
    /// The service's exit code; 255 when it came with fewer than four bytes (spec/qrexec-wire.md 7.2).
    ExitCode(i32),
}

/// Body of EXEC_CMDLINE, JUST_EXEC and SERVICE_CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// Domain id of the other end of the data connection.
    pub domain: u32,
    /// Port of the data connection; 0 asks the daemon to choose.
    pub port: u32,
    /// The text as on the wire, with its NUL; empty in a daemon's answer.
    pub text: Vec<u8>,
}

impl Exec {
    /// With a command, which gets its NUL here.
    #[must_use]
    pub fn command(domain: u32, port: u32, command: &[u8]) -> Self {
        let mut text = Vec::with_capacity(command.len() + 1);
        text.extend_from_slice(command);
        text.push(0);
        Self { domain, port, text }
    }

    /// With the id of a request.
    #[must_use]
    pub fn request(domain: u32, port: u32, ident: Ident) -> Self {
        Self { domain, port, text: ident.0.to_vec() }
    }

    /// Without a text: a daemon's answer to its client.
    #[must_use]
    pub const fn answer(domain: u32, port: u32) -> Self {
        Self { domain, port, text: Vec::new() }
    }

    /// Whether the last byte of the text is NUL, as a daemon demands of its clients (spec/qrexec-wire.md 4).
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.text.last() == Some(&0)
    }

    /// The command: the text before its first NUL. The last byte counts as NUL whatever it is (2.4).
    #[must_use]
    pub fn command_text(&self) -> &[u8] {
        layout::text(self.text.split_last().map_or(&[], |(_, front)| front))
    }

    /// The text as a request id, filled up with NULs; `None` when it is longer than one.
    #[must_use]
    pub fn ident(&self) -> Option<Ident> {
        let mut ident = [0; Ident::SIZE];
        ident.get_mut(..self.text.len())?.copy_from_slice(&self.text);
        Some(Ident(ident))
    }
}

/// Body of TRIGGER_SERVICE3 and TRIGGER_SERVICE4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Requested source as on the wire; not in protocol 3.
    pub source: [u8; 64],
    /// Target as on the wire.
    pub target: [u8; 64],
    /// Request id.
    pub ident: Ident,
    /// Service with argument as on the wire, with its NUL.
    pub service: Vec<u8>,
}

impl Trigger {
    /// A request as qrexec-client-vm sends it. `source` and `target` are cut to 63 bytes (spec/qrexec-wire.md 10).
    #[must_use]
    pub fn new(source: &[u8], target: &[u8], ident: Ident, service: &[u8]) -> Self {
        let mut text = Vec::with_capacity(service.len() + 1);
        text.extend_from_slice(service);
        text.push(0);
        Self { source: cut(source), target: cut(target), ident, service: text }
    }
}

impl Message {
    /// The message as on the wire, header and body.
    ///
    /// A body of 4 GiB or more has no header that could name it; its length is then given as 2^32 - 1, which every
    /// receiver refuses.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Hello { version } => framed(self.kind(), &[&PeerInfo { version: *version }.to_bytes()]),
            Self::ExecCmdline(exec) | Self::JustExec(exec) | Self::ServiceConnect(exec) => {
                let front = ExecParams { connect_domain: exec.domain, connect_port: exec.port };
                framed(self.kind(), &[&front.to_bytes(), &exec.text])
            }
            Self::ServiceRefused(ident) => framed(self.kind(), &[&ident.0]),
            Self::ConnectionTerminated { domain, port } => {
                let body = ExecParams { connect_domain: *domain, connect_port: *port };
                framed(self.kind(), &[&body.to_bytes()])
            }
            Self::TriggerService2(trigger) => framed(self.kind(), &[&trigger.to_bytes()]),
            Self::TriggerService3(trigger) => {
                let front = TriggerService3 { target: trigger.target, ident: trigger.ident };
                framed(self.kind(), &[&front.to_bytes(), &trigger.service])
            }
            Self::TriggerService4(trigger) => {
                let front =
                    TriggerService4 { source: trigger.source, target: trigger.target, ident: trigger.ident };
                framed(self.kind(), &[&front.to_bytes(), &trigger.service])
            }
            Self::Stdin(bytes) | Self::Stdout(bytes) | Self::Stderr(bytes) => framed(self.kind(), &[bytes]),
            Self::ExitCode(code) => framed(self.kind(), &[&ExitCode { code: *code }.to_bytes()]),
        }
    }

    /// The message type.
    #[must_use]
    pub const fn kind(&self) -> u32 {
        match self {
            Self::Hello { .. } => message_type::HELLO,
            Self::ExecCmdline(_) => message_type::EXEC_CMDLINE,
            Self::JustExec(_) => message_type::JUST_EXEC,
            Self::ServiceConnect(_) => message_type::SERVICE_CONNECT,
            Self::ServiceRefused(_) => message_type::SERVICE_REFUSED,
            Self::ConnectionTerminated { .. } => message_type::CONNECTION_TERMINATED,
            Self::TriggerService2(_) => message_type::TRIGGER_SERVICE,
            Self::TriggerService3(_) => message_type::TRIGGER_SERVICE3,
            Self::TriggerService4(_) => message_type::TRIGGER_SERVICE4,
            Self::Stdin(_) => message_type::DATA_STDIN,
            Self::Stdout(_) => message_type::DATA_STDOUT,
            Self::Stderr(_) => message_type::DATA_STDERR,
            Self::ExitCode(_) => message_type::DATA_EXIT_CODE,
        }
    }

    /// The body of EXEC_CMDLINE, JUST_EXEC and SERVICE_CONNECT; `None` for other messages.
    #[must_use]
    pub const fn exec(&self) -> Option<&Exec> {
        match self {
            Self::ExecCmdline(exec) | Self::JustExec(exec) | Self::ServiceConnect(exec) => Some(exec),
            _ => None,
        }
    }

    /// The message with this type and body; `None` for an unknown type or a body too short for its fixed part. Lengths
    /// and channel are [`super::Channel::check`]'s business.
    #[must_use]
    pub fn from_parts(kind: u32, body: &[u8]) -> Option<Self> {
        Some(match kind {
            message_type::HELLO => {
                Self::Hello { version: PeerInfo::from_bytes(*body.first_chunk()?).version }
            }
            message_type::EXEC_CMDLINE => Self::ExecCmdline(exec(body)?),
            message_type::JUST_EXEC => Self::JustExec(exec(body)?),
            message_type::SERVICE_CONNECT => Self::ServiceConnect(exec(body)?),
            message_type::SERVICE_REFUSED => Self::ServiceRefused(Ident::from_bytes(*body.first_chunk()?)),
            message_type::CONNECTION_TERMINATED => {
                let ExecParams { connect_domain: domain, connect_port: port } =
                    ExecParams::from_bytes(*body.first_chunk()?);
                Self::ConnectionTerminated { domain, port }
            }
            message_type::TRIGGER_SERVICE => {
                Self::TriggerService2(TriggerService2::from_bytes(body.first_chunk()?))
            }
            message_type::TRIGGER_SERVICE3 => {
                let (front, service) = body.split_first_chunk()?;
                let TriggerService3 { target, ident } = TriggerService3::from_bytes(front);
                Self::TriggerService3(Trigger { source: [0; 64], target, ident, service: service.to_vec() })
            }
            message_type::TRIGGER_SERVICE4 => {
                let (front, service) = body.split_first_chunk()?;
                let TriggerService4 { source, target, ident } = TriggerService4::from_bytes(front);
                Self::TriggerService4(Trigger { source, target, ident, service: service.to_vec() })
            }
            message_type::DATA_STDIN => Self::Stdin(body.to_vec()),
            message_type::DATA_STDOUT => Self::Stdout(body.to_vec()),
            message_type::DATA_STDERR => Self::Stderr(body.to_vec()),
            message_type::DATA_EXIT_CODE => {
                Self::ExitCode(body.first_chunk().map_or(255, |bytes| ExitCode::from_bytes(*bytes).code))
            }
            _ => return None,
        })
    }
}

fn exec(body: &[u8]) -> Option<Exec> {
    let (front, text) = body.split_first_chunk()?;
    let ExecParams { connect_domain: domain, connect_port: port } = ExecParams::from_bytes(*front);
    Some(Exec { domain, port, text: text.to_vec() })
}

fn framed(kind: u32, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(Header::SIZE + len);
    bytes.extend_from_slice(&Header { kind, len: u32::try_from(len).unwrap_or(u32::MAX) }.to_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The text in a field of 64 bytes, cut so that a NUL remains.
fn cut(text: &[u8]) -> [u8; 64] {
    let mut field = [0; 64];
    for (to, from) in field.iter_mut().zip(text.iter().take(63)) {
        *to = *from;
    }
    field
}
