//! The words in which a call's end is told.

use crate::decision::{Decision, Reason};
use crate::exit_code::{FAILURE, LOST, NOT_FOUND, TROUBLE};
use crate::shown::{grouped, shown};
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

/// All was sent.
pub(super) struct Sent(pub(super) u64);

impl Display for Sent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "sent {} bytes", grouped(self.0))
    }
}

/// What became of the original.
pub(super) struct End<'a> {
    pub(super) decision: Decision,
    pub(super) received: u64,
    pub(super) name: &'a OsStr,
}

impl Display for End<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { decision, received, name } = self;
        match decision {
            Decision::Unchanged => f.write_str("unchanged"),
            Decision::Dropped => write!(f, "view only: {} is untouched", shown(name)),
            Decision::Replace => write!(f, "got {} bytes back, {} replaced", grouped(*received), shown(name)),
            Decision::Keep(_) => {
                write!(f, "got {} bytes back, {} is untouched", grouped(*received), shown(name))
            }
        }
    }
}

/// An edited file that does not take the place of the original, and where it is instead.
pub(super) struct Kept<'a> {
    pub(super) reason: Reason,
    pub(super) original: &'a Path,
    pub(super) kept: &'a PathBuf,
    pub(super) received: u64,
}

impl Display for Kept<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let original = shown(self.original);
        match self.reason {
            Reason::CallFailed(code) => write!(f, "{original} was not replaced: {}", Meaning(code))?,
            Reason::NotKeptWhole => {
                write!(f, "{original} was not replaced: not all that came back could be kept")?;
            }
            Reason::NotSentWhole => {
                write!(f, "{original} was not replaced: the other qube did not read all of it")?;
            }
            Reason::Elsewhere => write!(f, "{original} was not replaced: its directory cannot be written")?,
            Reason::OriginalChanged => write!(f, "{original} was not replaced: it was changed meanwhile")?,
            Reason::OriginalGone => write!(f, "{original} is gone")?,
            Reason::ReplaceFailed => write!(f, "{original} was not replaced")?,
        }
        write!(f, "; the edited copy ({} bytes) is {}", grouped(self.received), shown(self.kept))
    }
}

/// What an exit code of a call means (spec/qrexec-wire.md, section 10; promise P9).
pub(super) struct Meaning(pub(super) u8);

impl Display for Meaning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            FAILURE => f.write_str("it could not be opened (exit code 1)"),
            TROUBLE => f.write_str("the call could not be carried out (exit code 125)"),
            NOT_FOUND => f.write_str("the service or the application was not found there (exit code 127)"),
            LOST => f.write_str("the connection was lost before the other qube was done (exit code 255)"),
            code @ 129..=192 => write!(f, "ended by signal {} (exit code {code})", code - 128),
            code => write!(f, "the other qube reported exit code {code}"),
        }
    }
}
