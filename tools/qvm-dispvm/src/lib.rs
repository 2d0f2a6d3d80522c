//! `qvm-dispvm`: what an administrator asks about disposables. docs/qvm-dispvm.md describes every command.
//!
//! | module | what it is | pure |
//! |---|---|---|
//! | [`options`] | the command line | yes |
//! | `eval` | `policy eval`: the reply that qrexec-daemon would get | yes |
//! | `explain` | `policy explain`: why, and what comes of it | yes |
//! | `sight` | what both need to see: policy files, qubes, the queue | |
//! | [`scope`] | which host and which templates the other commands are about | yes |
//! | `status` | `status`: the table, and the same as JSON | |
//! | `watch` | `watch`: the table again whenever an entry moves | |
//! | `renew` | `refresh` and `drain`: what waits is replaced or destroyed | |
//! | `doctor` | `doctor`: what is wrong, each with its remedy | |
//! | `template` | what a template needs and how many are to wait | |
//! | [`run`] | `run`: a command or a service on a disposable of its own | |
#![forbid(unsafe_code)]

mod doctor;
mod eval;
mod explain;
pub mod options;
mod renew;
pub mod run;
pub mod scope;
mod sight;
mod status;
mod template;
mod watch;

use options::{Command, Question};
use sight::Sight;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;

/// What a command says, and how it ends.
struct Outcome {
    /// For programs.
    out: String,
    /// For people.
    reason: String,
    exit: u8,
}

/// A command that could not be carried out: one line, exit code 125 (64 for a command line that cannot be meant).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    text: String,
}

impl Outcome {
    fn said(out: String, exit: u8) -> Self {
        Self { out, reason: String::new(), exit }
    }

    fn shown(self, json: bool) -> Self {
        if !json {
            return self;
        }
        let line =
            serde_json::json!({ "answer": self.out, "reason": self.reason.trim_end(), "exit": self.exit });
        Self::said(format!("{line}\n"), self.exit)
    }
}

impl From<disposable::error::CallError> for Failure {
    fn from(error: disposable::error::CallError) -> Self {
        Self { exit: error.exit_code(), text: error.to_string() }
    }
}

impl Failure {
    fn usage(text: impl fmt::Display) -> Self {
        Self { exit: 64, text: format!("{text}; \"qvm-dispvm help\" shows how it is used") }
    }

    fn trouble(text: impl fmt::Display) -> Self {
        Self { exit: 125, text: text.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// Runs one command line without argv\[0\]; returns the exit code.
#[must_use]
pub fn main(words: &[OsString]) -> u8 {
    let outcome = options::parse(words).and_then(|command| match command {
        Command::Eval(question) => eval(&question).map(|outcome| outcome.shown(question.json)),
        Command::Explain(question) => explain(&question).map(|outcome| outcome.shown(question.json)),
        Command::Status(scope) => status::outcome(&scope),
        Command::Watch(scope) => watch::until_interrupted(&scope),
        Command::Refresh(scope) => renew::refresh(&scope),
        Command::Drain(scope) => renew::drain(&scope),
        Command::Doctor(scope) => Ok(doctor::outcome(&scope)),
        Command::Run(order) => run::outcome(&order),
        Command::Help => Ok(Outcome { out: options::HELP.to_owned(), reason: String::new(), exit: 0 }),
    });
    match outcome {
        Ok(Outcome { out, reason, exit }) => {
            // Whoever closed the pipe wants no more; the exit code still tells.
            drop(std::io::stdout().write_all(out.as_bytes()));
            drop(std::io::stderr().write_all(reason.as_bytes()));
            exit
        }
        Err(failure) => {
            drop(writeln!(std::io::stderr(), "qvm-dispvm: {failure}"));
            failure.exit
        }
    }
}

fn eval(question: &Question) -> Result<Outcome, Failure> {
    let sight = Sight::new(question);
    let system = sight.system()?;
    Ok(eval::outcome(&sight.policy(), &question.call(), question.options(), &system))
}

fn explain(question: &Question) -> Result<Outcome, Failure> {
    let sight = Sight::new(question);
    let (config, system) = (sight.config()?, sight.system()?);
    let policy = sight.policy();
    let asked =
        explain::Asked { question, system: &system, directories: sight.directories(), config: &config };
    Ok(explain::outcome(&asked, &policy, |template| sight::readiness(&config, template)))
}
