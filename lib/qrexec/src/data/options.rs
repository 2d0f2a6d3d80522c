//! What a data channel is told beforehand and tells afterwards.

use super::wishes::Wish;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;

/// How a data channel is to behave.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Replace bytes that could steer a terminal by `_` in what goes to the local output (spec/qrexec-wire.md 7.5).
    pub filter_stdout: bool,
    /// The same for the errors.
    pub filter_stderr: bool,
    /// Who says HELLO first.
    pub hello: HelloOrder,
    /// Sent before what the local input gives.
    pub prefix: Vec<u8>,
    /// Caller: end the call as soon as nobody reads the local output any more and the local input has ended. Otherwise
    /// (as upstream) what still comes is thrown away and the exit code awaited.
    pub end_with_output: bool,
    /// The wish of the program that the local streams belong to: its standard input may become its output.
    pub wish: Option<Arc<Wish>>,
}

/// Who says HELLO first (spec/qrexec-wire.md 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HelloOrder {
    /// We do: every program in a qube, and dom0 when it calls a qube.
    #[default]
    SendFirst,
    /// The peer does: dom0 when it is called.
    ReceiveFirst,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The service's exit code.
    Exit(i32),
    /// The vchan closed and no exit code had come; callers report this as 255.
    Lost,
}

impl CallEnd {
    /// The exit status to report.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Exit(code) => code,
            Self::Lost => crate::wire::exit_code::LOST,
        }
    }
}

/// What a call amounted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallReport {
    /// How it ended.
    pub end: CallEnd,
    /// Bytes sent to the service's input.
    pub bytes_out: u64,
    /// Bytes of the service's output and errors that came back.
    pub bytes_back: u64,
    /// When the first byte (or the end of an empty input) was sent: nanoseconds of `CLOCK_MONOTONIC`.
    pub first_out_ns: Option<u64>,
    /// When the first byte of output or errors came: nanoseconds of `CLOCK_MONOTONIC`.
    pub first_back_ns: Option<u64>,
}

/// The service that a call runs.
#[derive(Debug)]
pub enum Service {
    /// A process and our ends of its streams. Its input and output may be one socket, given twice.
    Process {
        /// The process, not yet waited for.
        child: Child,
        /// Writing end of its standard input.
        stdin: OwnedFd,
        /// Reading end of its standard output.
        stdout: OwnedFd,
        /// Reading end of its standard error; `None` when that does not go to the caller.
        stderr: Option<OwnedFd>,
    },
    /// A connection to a socket service; its exit code is 0.
    Socket {
        /// The connected stream socket.
        stream: OwnedFd,
        /// End the call when the caller's input has ended.
        exit_on_client_eof: bool,
        /// End the call when the service's output has ended.
        exit_on_service_eof: bool,
    },
    /// The service could not be started.
    Failed {
        /// 127 when it does not exist, otherwise 125.
        code: i32,
        /// Whether we are dom0, which words this a little differently.
        dom0: bool,
    },
    /// A command whose streams are not joined.
    JustExec {
        /// 0 when it was started, 127 when it does not exist, otherwise 125.
        code: i32,
    },
}
