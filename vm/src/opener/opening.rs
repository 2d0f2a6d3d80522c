//! One file or URL, from the call to what becomes of the original.

use super::call::{Call, CallError, Ended, Payload};
use super::notices::Notices;
use super::original::{Original, OriginalError};
use super::reception::Reception;
use super::settings::Settings;
use super::settling::Settling;
use super::story;
use crate::command_line::Order;
use crate::decision::{Decision, Returned, exit_code};
use crate::emptied::Emptied;
use crate::exit_code::{FAILURE, REFUSED, SUCCESS, of_signal};
use crate::name_field;
use crate::shown::shown;
use crate::signals::Signals;
use crate::subject::Subject;
use crate::url::Url;
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// What is needed to open something, each time anew.
pub(super) struct Opening<'a> {
    pub(super) order: &'a Order,
    pub(super) settings: &'a Settings,
    pub(super) notices: &'a Notices,
    pub(super) signals: &'a Signals,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) code: u8,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A URL was opened, a file was shown.
    Opened,
    Unchanged,
    Replaced,
    /// Where, the user was told.
    Kept,
    Failed,
}

impl Done {
    pub(super) const FAILED: Self = Self { code: FAILURE, outcome: Outcome::Failed };

    fn with(code: u8, outcome: Outcome) -> Self {
        Self {
            code,
            outcome: if code == SUCCESS || outcome == Outcome::Kept { outcome } else { Outcome::Failed },
        }
    }
}

impl Opening<'_> {
    pub(super) fn open(&self, subject: &Subject) -> Done {
        let opened = match subject {
            Subject::Url(url) => self.open_url(url),
            Subject::File(path) => {
                Original::open(path).map_err(OpenError::Original).and_then(|file| self.open_file(&file))
            }
        };
        opened.unwrap_or_else(|error| {
            self.notices.say(&error);
            Done::FAILED
        })
    }

    fn open_url(&self, url: &Url) -> Result<Done, OpenError> {
        let call =
            self.call("qubes.OpenURL", Payload { head: format!("{}\n", url.as_str()).into(), body: None })?;
        let ended = call.run(self.signals, &mut |_| Ok(()), &|_| {});
        Ok(match ended.map_err(OpenError::Call)? {
            Ended::Exit { code, words, .. } => {
                self.tell_failure(code, OsStr::new(url.as_str()), &words);
                Done::with(code, Outcome::Opened)
            }
            Ended::Signal(signal) => Done::with(of_signal(signal), Outcome::Failed),
        })
    }

    fn open_file(&self, original: &Original) -> Result<Done, OpenError> {
        let view_only = self.order.view_only;
        let emptied = Emptied::new();
        let word = (!view_only).then_some(emptied);
        let head = name_field::encode(original.name().as_bytes(), view_only, word).to_vec();
        let body = original.content().map_err(OpenError::Content)?;
        let mut reception = Reception::new(original, view_only, emptied, self.settings);
        let call = self.call("qubes.OpenInVM", Payload { head, body: Some(body) })?;
        let story = |bytes| self.notices.story(&story::Sent(bytes));
        let ended = call.run(self.signals, &mut |bytes| reception.accept(bytes), &story);
        let (code, sent_whole, words) = match ended {
            Ok(Ended::Exit { code, sent_whole, words }) => (code, sent_whole, words),
            // The user's wish: nothing of it stays, and the original was not touched.
            Ok(Ended::Signal(signal)) => return Ok(Done::with(of_signal(signal), Outcome::Failed)),
            Err(error) if reception.received() == 0 => return Err(OpenError::Call(error)),
            Err(error) => {
                self.notices.say(&error);
                (FAILURE, false, Vec::new())
            }
        };
        let returned = Returned {
            code,
            received: reception.received(),
            view_only,
            sent_whole,
            kept_whole: reception.is_whole(),
            beside: reception.is_beside(),
            original: original.standing(),
        };
        let settling = Settling { settings: self.settings, notices: self.notices };
        let (decision, received) = settling.settle(original, reception, returned);
        if matches!(decision, Decision::Keep(_)) {
            words.iter().for_each(|line| self.notices.remember(line));
        } else {
            self.tell_failure(code, original.name(), &words);
        }
        if code == SUCCESS || decision != Decision::Unchanged {
            self.notices.story(&story::End { decision, received, name: original.name() });
        }
        let outcome = match decision {
            Decision::Dropped => Outcome::Opened,
            Decision::Unchanged => Outcome::Unchanged,
            Decision::Replace => Outcome::Replaced,
            Decision::Keep(_) => Outcome::Kept,
        };
        Ok(Done::with(exit_code(code, decision), outcome))
    }

    fn call(&self, service: &'static str, payload: Payload) -> Result<Call, OpenError> {
        let client = self.settings.client().ok_or(OpenError::NoClient)?;
        Call::start(&client, &self.order.target, service, payload, self.notices.has_desktop())
            .map_err(|cause| OpenError::Client(client.display().to_string(), cause))
    }

    fn tell_failure(&self, code: u8, what: &OsStr, words: &[String]) {
        let (what, target) = (shown(what), shown(&self.order.target));
        if code == REFUSED {
            self.notices.say(&format_args!("refused: {what} may not be opened in {target}"));
        } else if code != SUCCESS {
            self.notices.say(&format_args!("{what} in {target}: {}", story::Meaning(code)));
            words.iter().for_each(|line| self.notices.remember(line));
        }
    }
}

/// Why something could not be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    Content(io::Error),
    Original(OriginalError),
    NoClient,
    Client(String, io::Error),
    Call(CallError),
}

impl Display for OpenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(cause) => write!(f, "cannot read the file: {cause}"),
            Self::Original(error) => error.fmt(f),
            Self::NoClient => f.write_str(
                "qrexec-client-vm is not installed in this qube (looked beside this program, in /run/qubes/bin, \
                 /usr/lib/qubes and /usr/bin)",
            ),
            Self::Client(path, cause) => write!(f, "cannot start {path}: {cause}"),
            Self::Call(error) => error.fmt(f),
        }
    }
}
