//! What the user is told while files are open, on a terminal or by a notification (M43, L1).

use super::desktop::Desktop;
use super::settings::Settings;
use crate::say::{line, say};
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More lines than this are no notification any more.
const MOST_LINES: usize = 8;

pub(super) struct Notices {
    program: &'static str,
    story: bool,
    /// Whether the good news are of interest: failures always are.
    talkative: bool,
    mute: bool,
    desktop: Option<Desktop>,
    said: Mutex<Vec<String>>,
}

impl Notices {
    /// Standard error is spoken to in any case. Without any terminal, but with a display, somebody started us from a
    /// file manager or the like and sees nothing of that: the desktop is told.
    pub(super) fn new(program: &'static str, settings: &Settings) -> Self {
        let on_terminal = io::stderr().is_terminal();
        let has_terminal = on_terminal || io::stdout().is_terminal() || io::stdin().is_terminal();
        let desktop =
            if has_terminal || !settings.desktop { None } else { Desktop::find(&settings.notifiers) };
        Self {
            program,
            story: settings.story,
            talkative: on_terminal,
            mute: false,
            desktop,
            said: Mutex::default(),
        }
    }

    /// Nobody is told anything.
    pub(super) fn mute() -> Self {
        let said = Mutex::default();
        Self { program: "", story: false, talkative: false, mute: true, desktop: None, said }
    }

    /// Whether what the other qube says is to be collected, because nobody reads our standard error.
    pub(super) fn has_desktop(&self) -> bool {
        self.desktop.is_some()
    }

    /// The first sign that something happens, before anything is started.
    pub(super) fn begin(&self, what: &dyn Display) {
        if self.talkative {
            say(self.program, what);
        }
        self.show(&what.to_string(), "", false);
    }

    /// One of several is done.
    pub(super) fn progress(&self, summary: &dyn Display, news: &dyn Display) {
        say(self.program, &format_args!("{summary}: {news}"));
        self.show(&summary.to_string(), &news.to_string(), false);
    }

    /// All is over. `is_news` tells whether it has not been said on standard error yet.
    pub(super) fn end(&self, summary: &dyn Display, is_news: bool) {
        if is_news || self.talkative {
            say(self.program, summary);
        }
        let body = self.said().join("\n");
        self.show(&summary.to_string(), &body, true);
    }

    /// A failure, or something else that the user has to know.
    pub(super) fn say(&self, message: &dyn Display) {
        if self.mute {
            return;
        }
        say(self.program, message);
        self.remember(&message.to_string());
    }

    /// Something that was said on standard error by another program.
    pub(super) fn remember(&self, words: &str) {
        let mut said = self.said();
        if said.len() < MOST_LINES {
            said.push(words.to_owned());
        }
    }

    /// A step of the story that the embedded host tells.
    pub(super) fn story(&self, message: &dyn Display) {
        if self.story {
            line(message);
        }
    }

    fn show(&self, summary: &str, body: &str, is_end: bool) {
        if let Some(desktop) = &self.desktop {
            desktop.show(summary, body, is_end);
        }
    }

    fn said(&self) -> MutexGuard<'_, Vec<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
