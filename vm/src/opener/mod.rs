//! qvm-open-in-vm and qvm-open-in-dvm: open files and URLs in another qube and take edited files back.

mod call;
mod desktop;
mod exchange;
mod keep;
mod notices;
mod opening;
mod original;
mod question;
mod reception;
mod settings;
mod settling;
mod story;
mod words;
mod writers;

use crate::command_line::{Order, Program, Request, parse};
use crate::decision::{Decision, Returned};
use crate::emptied::Emptied;
use crate::exit_code::{FAILURE, SUCCESS, USAGE, of_signal};
use crate::say::{line, say};
use crate::signals::Signals;
use crate::subject::{Subject, classify};
use notices::Notices;
use opening::{Done, Opening};
use original::Original;
use reception::Reception;
use settings::Settings;
use settling::Settling;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use story::{Beginning, News, Progress, Summary};

/// The whole program; the result is its exit code.
pub(crate) fn main(program: Program, args: &[OsString]) -> u8 {
    let settings = Settings::from_environment();
    let notices = Notices::new(program.name(), &settings);
    let order = match parse(program, args) {
        Ok(Request::Open(order)) => order,
        Ok(Request::Help) => {
            line(&program.usage());
            return SUCCESS;
        }
        Err(error) => {
            notices.say(&format_args!("{error}; {}", program.usage()));
            notices.end(&"nothing was opened", false);
            return USAGE;
        }
    };
    match Signals::install() {
        Ok(signals) => Opener { order: &order, settings, notices, signals }.open_all(),
        Err(error) => {
            say(program.name(), &format_args!("cannot set up signal handlers: {error}"));
            FAILURE
        }
    }
}

/// Takes these portions as a reply to a call for the file at `path` that ended with `code`, and does with it what is done
/// then: the receiving end without the call. The word `emptied` means an emptied file. Whether the file was replaced.
pub(crate) fn take_reply(path: &Path, portions: &[&[u8]], code: u8, emptied: Emptied) -> io::Result<bool> {
    let original = Original::open(path).map_err(|error| io::Error::other(error.to_string()))?;
    let settings = Settings::from_environment();
    let mut reception = Reception::new(&original, false, emptied, &settings);
    let whole = portions.iter().try_for_each(|portion| reception.accept(portion)).is_ok();
    let returned = Returned {
        code: if whole { code } else { FAILURE },
        received: reception.received(),
        view_only: false,
        sent_whole: true,
        kept_whole: reception.is_whole(),
        beside: reception.is_beside(),
        original: original.standing(),
    };
    let settling = Settling { settings: &settings, notices: &Notices::mute() };
    Ok(settling.settle(&original, reception, returned).0 == Decision::Replace)
}

struct Opener<'a> {
    order: &'a Order,
    settings: Settings,
    notices: Notices,
    signals: Signals,
}

impl Opener<'_> {
    /// Every word is checked before the first call is made; one that names nothing does not stop the others. A few
    /// are open at a time, in the order of the command line. The first exit code in that order that is not 0 is the
    /// result (L5).
    fn open_all(&self) -> u8 {
        self.notices.begin(&Beginning(self.order));
        let checked: Vec<_> = self.order.subjects.iter().map(|word| self.check(word)).collect();
        if checked.iter().any(Option::is_some) {
            if let Err(error) = question::ask_if_nested(self.order, &self.settings) {
                self.notices.say(&error);
                self.notices.end(&"nothing was opened", false);
                return FAILURE;
            }
        }
        let all = self.open_some_at_once(&checked);
        if let Some(signal) = self.signals.caught() {
            return of_signal(signal);
        }
        self.notices.end(&Summary { order: self.order, all: &all }, all.len() > 1);
        all.iter().map(|done| done.code).find(|&code| code != SUCCESS).unwrap_or(SUCCESS)
    }

    fn check(&self, word: &OsString) -> Option<Subject> {
        let subject = classify(word).map_err(|error| self.notices.say(&error)).ok()?;
        if let Subject::File(path) = &subject {
            Original::open(path).map_err(|error| self.notices.say(&error)).ok()?;
        }
        Some(subject)
    }

    fn open_some_at_once(&self, checked: &[Option<Subject>]) -> Vec<Done> {
        let next = AtomicUsize::new(0);
        let all = Mutex::new(vec![Done::FAILED; checked.len()]);
        let finished = AtomicUsize::new(checked.iter().filter(|subject| subject.is_none()).count());
        let work = |signals: &Signals| {
            let opening =
                Opening { order: self.order, settings: &self.settings, notices: &self.notices, signals };
            while signals.caught().is_none() {
                let index = next.fetch_add(1, Ordering::SeqCst);
                let Some(subject) = checked.get(index) else { return };
                let Some(subject) = subject else { continue };
                let done = opening.open(subject);
                if let Some(slot) = all.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
                    *slot = done;
                }
                let progress = Progress(finished.fetch_add(1, Ordering::SeqCst) + 1, checked.len());
                if checked.len() > 1 && signals.caught().is_none() {
                    let word = self.order.subjects.get(index).map(OsString::as_os_str).unwrap_or_default();
                    self.notices.progress(&progress, &News { word, done });
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.settings.at_once.min(checked.len()) {
                if let Err(error) = self.add_worker(scope, &work) {
                    self.notices.say(&format_args!("fewer files are open at once: {error}"));
                }
            }
            work(&self.signals);
        });
        all.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_worker<'scope>(
        &self,
        scope: &'scope thread::Scope<'scope, '_>,
        work: &'scope (impl Fn(&Signals) + Sync),
    ) -> io::Result<()> {
        let signals = self.signals.for_another_thread()?;
        thread::Builder::new().name("open".into()).spawn_scoped(scope, move || work(&signals))?;
        Ok(())
    }
}
