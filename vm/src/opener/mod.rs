//! qvm-open-in-vm and qvm-open-in-dvm: open files and URLs in another qube and take edited files back.

mod call;
mod keep;
mod original;
mod question;
mod reception;
mod settings;
mod story;

use crate::command_line::{Order, Program, Request, parse};
use crate::decision::{Decision, Reason, Returned, decide, exit_code};
use crate::exit_code::{FAILURE, REFUSED, SUCCESS, USAGE, of_signal};
use crate::name_field;
use crate::say::{line, say};
use crate::shown::shown;
use crate::signals::Signals;
use crate::subject::{Subject, SubjectError, classify};
use crate::url::Url;
use call::{Call, Ended, Payload};
use original::{Original, OriginalError};
use reception::Reception;
use settings::Settings;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::io;
use std::os::unix::ffi::OsStrExt;

/// The whole program; the result is its exit code.
pub(crate) fn main(program: Program, args: &[OsString]) -> u8 {
    let order = match parse(program, args) {
        Ok(Request::Open(order)) => order,
        Ok(Request::Help) => {
            line(&program.usage());
            return SUCCESS;
        }
        Err(error) => {
            say(program.name(), &format_args!("{error}; {}", program.usage()));
            return USAGE;
        }
    };
    match Opener::new(program, &order) {
        Ok(opener) => opener.open_all(),
        Err(error) => {
            say(program.name(), &error);
            FAILURE
        }
    }
}

struct Opener<'a> {
    name: &'static str,
    order: &'a Order,
    settings: Settings,
    signals: Signals,
}

impl<'a> Opener<'a> {
    fn new(program: Program, order: &'a Order) -> Result<Self, OpenError> {
        let signals = Signals::install().map_err(|cause| OpenError::Start("signal handlers", cause))?;
        Ok(Self { name: program.name(), order, settings: Settings::from_environment(), signals })
    }

    /// Every word is checked before the first call is made; one that names nothing does not stop the others. They are
    /// opened one after another. The first exit code that is not 0 is the result (L5).
    fn open_all(&self) -> u8 {
        let checked: Vec<_> = self.order.subjects.iter().map(|word| self.check(word)).collect();
        if checked.iter().any(Result::is_ok) {
            if let Err(error) = question::ask_if_nested(self.order, &self.settings) {
                self.say(&error);
                return FAILURE;
            }
        }
        let mut result = SUCCESS;
        for subject in checked {
            let code = match subject {
                Ok(subject) => self.open(&subject),
                Err(code) => code,
            };
            if result == SUCCESS {
                result = code;
            }
            if let Some(signal) = self.signals.caught() {
                return of_signal(signal);
            }
        }
        result
    }

    fn check(&self, word: &OsStr) -> Result<Subject, u8> {
        let checked = classify(word).map_err(OpenError::Subject).and_then(|subject| {
            if let Subject::File(path) = &subject {
                Original::open(path).map_err(OpenError::Original)?;
            }
            Ok(subject)
        });
        checked.map_err(|error| {
            self.say(&error);
            FAILURE
        })
    }

    fn open(&self, subject: &Subject) -> u8 {
        let opened = match subject {
            Subject::Url(url) => self.open_url(url),
            Subject::File(path) => {
                Original::open(path).map_err(OpenError::Original).and_then(|file| self.open_file(file))
            }
        };
        opened.unwrap_or_else(|error| {
            self.say(&error);
            FAILURE
        })
    }

    fn open_url(&self, url: &Url) -> Result<u8, OpenError> {
        let call =
            self.call("qubes.OpenURL", Payload { head: format!("{}\n", url.as_str()).into(), body: None })?;
        let ended = call.run(&self.signals, &mut |_| Ok(()), &|_| {});
        Ok(match ended.map_err(OpenError::Call)? {
            Ended::Exit { code, .. } => {
                self.tell_failure(code, OsStr::new(url.as_str()));
                code
            }
            Ended::Signal(signal) => of_signal(signal),
        })
    }

    fn open_file(&self, original: Original) -> Result<u8, OpenError> {
        let view_only = self.order.view_only;
        let head = name_field::encode(original.name().as_bytes(), view_only).to_vec();
        let body = original.content().map_err(|cause| OpenError::Start("the file", cause))?;
        let mut reception = Reception::new(&original, view_only, &self.settings);
        let call = self.call("qubes.OpenInVM", Payload { head, body: Some(body) })?;
        let story = |bytes| self.story(&story::Sent(bytes));
        let ended = call.run(&self.signals, &mut |bytes| reception.accept(bytes), &story);
        let (code, sent_whole) = match ended {
            Ok(Ended::Exit { code, sent_whole }) => (code, sent_whole),
            // The user's wish: nothing of it stays, and the original was not touched.
            Ok(Ended::Signal(signal)) => return Ok(of_signal(signal)),
            Err(error) if reception.received() == 0 => return Err(OpenError::Call(error)),
            Err(error) => {
                self.say(&error);
                (FAILURE, false)
            }
        };
        self.settle(&original, reception, code, sent_whole)
    }

    /// The end of an opened file: the original is replaced, left alone, or what came back is kept beside it.
    fn settle(
        &self,
        original: &Original,
        reception: Reception,
        code: u8,
        sent_whole: bool,
    ) -> Result<u8, OpenError> {
        let received = reception.received();
        let returned = Returned {
            code,
            received,
            view_only: self.order.view_only,
            sent_whole,
            kept_whole: reception.is_whole(),
            beside: reception.is_beside(),
            original: original.standing(),
        };
        let mut decision = decide(returned);
        let mut file = reception.into_file();
        if decision == Decision::Replace {
            if let Some(spot) = &mut file {
                match original.replace(&spot.guard, &spot.file) {
                    Ok(()) => spot.guard.release(),
                    Err(cause) => {
                        self.say(&format_args!("cannot replace {}: {cause}", shown(original.path())));
                        decision = Decision::Keep(Reason::ReplaceFailed);
                    }
                }
            }
        }
        match (decision, file) {
            (Decision::Keep(reason), Some(spot)) => {
                let kept = keep::keep(spot.guard, original.file_name());
                self.say(&story::Kept { reason, original: original.path(), kept: &kept, received });
            }
            _ => self.tell_failure(code, original.name()),
        }
        self.story(&story::End { decision, received, name: original.name() });
        Ok(exit_code(code, decision))
    }

    fn call(&self, service: &'static str, payload: Payload) -> Result<Call, OpenError> {
        let client = self.settings.client().ok_or(OpenError::NoClient)?;
        Call::start(&client, &self.order.target, service, payload)
            .map_err(|cause| OpenError::Client(client.display().to_string(), cause))
    }

    fn tell_failure(&self, code: u8, what: &OsStr) {
        let what = shown(what);
        if code == REFUSED {
            self.say(&format_args!("refused: {what} may not be opened in {}", shown(&self.order.target)));
        } else if code != SUCCESS {
            self.say(&format_args!("{what} in {}: {}", shown(&self.order.target), story::Meaning(code)));
        }
    }

    fn say(&self, message: &dyn Display) {
        say(self.name, message);
    }

    fn story(&self, message: &dyn Display) {
        if self.settings.story {
            line(message);
        }
    }
}

/// Why nothing could be opened.
#[derive(Debug)]
enum OpenError {
    Start(&'static str, io::Error),
    Subject(SubjectError),
    Original(OriginalError),
    NoClient,
    Client(String, io::Error),
    Call(call::CallError),
}

impl Display for OpenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(what, cause) => write!(f, "cannot set up {what}: {cause}"),
            Self::Subject(error) => error.fmt(f),
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
