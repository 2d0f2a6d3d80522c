//! The words in which a call's end is told.

use super::opening::{Done, Outcome};
use crate::command_line::Order;
use crate::decision::{Decision, Reason};
use crate::exit_code::{FAILURE, LOST, NOT_FOUND, TROUBLE};
use crate::shown::{grouped, shown};
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

/// What is about to be opened, and where.
pub(super) struct Beginning<'a>(pub(super) &'a Order);

impl Display for Beginning<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(order) = self;
        match order.subjects.as_slice() {
            [one] => write!(f, "opening {}", Name(one))?,
            several => write!(f, "opening {} files or links", several.len())?,
        }
        match order.target.to_str().unwrap_or_default() {
            "@dispvm" => f.write_str(" in a disposable")?,
            "@default" => f.write_str(" in another qube")?,
            _ => write!(f, " in {}", shown(&order.target))?,
        }
        f.write_str(if order.view_only { ", to look at" } else { "" })
    }
}

/// A word of the command line without the directories that nobody wants to read.
struct Name<'a>(&'a OsStr);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_url = self.0.as_encoded_bytes().windows(3).any(|part| part == b"://");
        let name = if is_url { None } else { Path::new(self.0).file_name() };
        shown(name.unwrap_or(self.0)).fmt(f)
    }
}

/// How far a call for several files is.
pub(super) struct Progress(pub(super) usize, pub(super) usize);

impl Display for Progress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} done", self.0, self.1)
    }
}

/// What became of one of several.
pub(super) struct News<'a> {
    pub(super) word: &'a OsStr,
    pub(super) done: Done,
}

impl Display for News<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Name(self.word))?;
        match self.done.outcome {
            Outcome::Opened => f.write_str(" was shown"),
            Outcome::Unchanged => f.write_str(" is unchanged"),
            Outcome::Replaced => f.write_str(" was edited"),
            Outcome::Kept => f.write_str(" was edited, but not replaced"),
            Outcome::Failed => f.write_str(" failed"),
        }
    }
}

/// The end of it all.
pub(super) struct Summary<'a> {
    pub(super) order: &'a Order,
    pub(super) all: &'a [Done],
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let ([word], [done]) = (self.order.subjects.as_slice(), self.all) {
            return News { word, done: *done }.fmt(f);
        }
        write!(f, "{} files or links:", self.all.len())?;
        let mut separator = " ";
        for (outcome, text) in [
            (Outcome::Replaced, "edited"),
            (Outcome::Unchanged, "unchanged"),
            (Outcome::Opened, "shown"),
            (Outcome::Kept, "edited but not replaced"),
            (Outcome::Failed, "failed"),
        ] {
            let count = self.all.iter().filter(|done| done.outcome == outcome).count();
            if count > 0 {
                write!(f, "{separator}{count} {text}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

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
            Decision::Replace if *received == 0 => write!(f, "came back empty, {} replaced", shown(name)),
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
    pub(super) kept: &'a Path,
    pub(super) received: u64,
    /// The program that has the original open.
    pub(super) writer: Option<String>,
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
            Reason::OriginalOpen => {
                let writer = self.writer.as_deref().unwrap_or("another program");
                write!(f, "{original} was not replaced: {writer} has it open and may write it")?;
            }
            Reason::OriginalChanged => write!(f, "{original} was not replaced: it was changed meanwhile")?,
            Reason::OriginalGone => write!(f, "{original} is gone")?,
            Reason::ReplaceFailed => write!(f, "{original} was not replaced")?,
        }
        write!(f, "; the edited copy ({} bytes) is {}", grouped(self.received), shown(self.kept))
    }
}

/// Where something is that another program wrote at the moment of the replacement.
pub(super) struct Meanwhile<'a>(pub(super) &'a Path);

impl Display for Meanwhile<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "another program changed the file at that moment; what it wrote is {}", shown(self.0))
    }
}

/// An original that had more than one name: the others were not edited (M34).
pub(super) struct OtherNames<'a> {
    pub(super) original: &'a Path,
    pub(super) others: u64,
}

impl Display for OtherNames<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let original = shown(self.original);
        let (names, keep, one) = match self.others {
            1 => ("another name (a hard link)".to_owned(), "keeps", "it"),
            others => (format!("{others} other names (hard links)"), "keep", "one"),
        };
        write!(f, "{original} had {names} that {keep} the old content; to renew {one}: ln -f {original} NAME")
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
