//! The command line, as text in and a value out. Pure.

use crate::Failure;
use crate::run::Order;
use crate::scope::Scope;
use names::printable;
use policy::{Call, Options};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `policy eval`
    Eval(Question),
    /// `policy explain`
    Explain(Question),
    /// `status`
    Status(Scope),
    /// `watch`
    Watch(Scope),
    /// `refresh`
    Refresh(Scope),
    /// `drain`
    Drain(Scope),
    /// `doctor`
    Doctor(Scope),
    /// `run`
    Run(Order),
    /// `help`
    Help,
}

/// A call, and where to look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// `--policy-dir`, highest rank first; none means the usual ones.
    pub policy_dirs: Vec<PathBuf>,
    /// `--system-info`: a file in place of qubesd.
    pub system_info: Option<PathBuf>,
    /// `--state`: the directory of an embedded host.
    pub state: Option<PathBuf>,
    /// `--tag-targets`, or implied by `--state`: a caller may name `@dispvm:@tag:TAG`.
    pub tag_targets: bool,
    /// `--json`: the answer, the reason and the exit code as one line for programs.
    pub json: bool,
    /// `--requested-source`: the remote qube for which the source relays.
    pub requested_source: Option<String>,
    /// The calling qube.
    pub source: String,
    /// SERVICE or SERVICE+ARGUMENT.
    pub service: String,
    /// The target as the caller writes it; may be empty.
    pub target: String,
}

impl Question {
    /// The call that this is about.
    #[must_use]
    pub fn call(&self) -> Call<'_> {
        let call = Call::new(&self.source, &self.service, &self.target);
        Call { requested_source: self.requested_source.as_deref(), ..call }
    }

    /// What the evaluator is told.
    #[must_use]
    pub fn options(&self) -> Options {
        Options { accept_tag_targets: self.tag_targets }
    }
}

/// Reads the words after the program's name.
///
/// # Errors
/// The first word that cannot be meant.
pub fn parse(words: &[OsString]) -> Result<Command, Failure> {
    let texts: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let mut own = texts.iter().skip(1).take_while(|text| **text != "--");
    let asks_help = own.any(|text| matches!(*text, "--help" | "-h"));
    match *texts.as_slice() {
        // What follows the command of `run` is the command's.
        ["run", "--help" | "-h", ..] => Ok(Command::Help),
        ["policy" | "status" | "watch" | "refresh" | "drain" | "doctor", ..] if asks_help => {
            Ok(Command::Help)
        }
        ["policy", "eval", ..] => question(words.get(2..).unwrap_or_default()).map(Command::Eval),
        ["policy", "explain", ..] => question(words.get(2..).unwrap_or_default()).map(Command::Explain),
        ["status", ..] => scope(words).map(Command::Status),
        ["watch", ..] => scope(words).map(Command::Watch),
        ["refresh", ..] => scope(words).map(Command::Refresh),
        ["drain", ..] => scope(words).map(Command::Drain),
        ["doctor", ..] => scope(words).map(Command::Doctor),
        ["run", ..] => Order::parse(words.get(1..).unwrap_or_default()).map(Command::Run),
        ["policy"] => Err(Failure::usage("policy: eval or explain?")),
        ["policy", ..] => Err(unknown("policy command", words.get(1))),
        [] | ["help" | "--help" | "-h", ..] => Ok(Command::Help),
        _ => Err(unknown("command", words.first())),
    }
}

fn scope(words: &[OsString]) -> Result<Scope, Failure> {
    Scope::parse(words.get(1..).unwrap_or_default())
}

fn question(words: &[OsString]) -> Result<Question, Failure> {
    let mut question = Question::default();
    let mut plain = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let option = word.to_str().filter(|text| text.starts_with("--"));
        let Some(option) = option else {
            plain.push(word);
            continue;
        };
        let (name, inline) = match option.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (option, None),
        };
        let mut value = || {
            let value = inline.clone().or_else(|| words.next().cloned()).filter(|value| !value.is_empty());
            value.ok_or_else(|| Failure::usage(format!("{name} needs a value")))
        };
        match name {
            "--policy-dir" => question.policy_dirs.push(value()?.into()),
            "--system-info" => question.system_info = Some(value()?.into()),
            "--state" => {
                question.state = Some(value()?.into());
                question.tag_targets = true;
            }
            "--requested-source" => question.requested_source = Some(text(&value()?)?),
            "--json" if inline.is_none() => question.json = true,
            "--tag-targets" if inline.is_none() => question.tag_targets = true,
            "--" if inline.is_none() => plain.extend(words.by_ref()),
            _ => return Err(unknown("option", Some(word))),
        }
    }
    let [source, service, target] = *plain.as_slice() else {
        return Err(Failure::usage(format!("SOURCE SERVICE TARGET: three words, here are {}", plain.len())));
    };
    (question.source, question.service, question.target) = (text(source)?, text(service)?, text(target)?);
    Ok(question)
}

/// No line break may be in a request to the policy, and no other byte than ASCII (spec/qrexec-wire.md 9.1).
fn text(word: &OsStr) -> Result<String, Failure> {
    match word.to_str() {
        Some(text) if text.is_ascii() && !text.contains('\n') => Ok(text.to_owned()),
        _ => Err(Failure::usage(format!("{} is no word of a call: ASCII on one line", shown(word)))),
    }
}

pub(crate) fn unknown(what: &str, word: Option<&OsString>) -> Failure {
    Failure::usage(format!("unknown {what} {}", word.map_or_else(String::new, |word| shown(word))))
}

pub(crate) fn shown(word: &OsStr) -> String {
    format!("\"{}\"", printable(word.as_encoded_bytes()))
}

/// The text of `help`.
pub const HELP: &str = "\
qvm-dispvm: disposables, preloaded and run

  qvm-dispvm status [--state DIR] [--json] [TEMPLATE...]
      how many wait, start and are in use, and what stands in the way of more
  qvm-dispvm watch [--state DIR] [--json] [TEMPLATE...]
      the same, again whenever one moves, until Ctrl-C
  qvm-dispvm refresh [--state DIR] [--json] [TEMPLATE...]
      makes those that wait stale: the keeper replaces them
  qvm-dispvm drain [--state DIR] [--json] [TEMPLATE...]
      destroys those that wait or start, and waits until they are gone
  qvm-dispvm doctor [--state DIR] [--json]
      what is wrong, each with its remedy
  qvm-dispvm run [--state DIR] [--dispvm=TARGET] [--user USER] -- COMMAND...
  qvm-dispvm run [--state DIR] [--dispvm=TARGET] [--user USER] --service NAME[+ARGUMENT]
      on a disposable of its own: standard streams and exit code are those of the command
      TARGET: @dispvm (dom0's default_dispvm; the default), TEMPLATE, @dispvm:TEMPLATE or @dispvm:@tag:TAG
  qvm-dispvm policy eval [OPTIONS] SOURCE SERVICE[+ARGUMENT] TARGET
      prints the reply that qrexec-daemon would get from the policy; the reason on stderr
  qvm-dispvm policy explain [OPTIONS] SOURCE SERVICE[+ARGUMENT] TARGET
      says which rule decides, why earlier ones do not, what the target resolves to, and whether a preloaded
      disposable is ready for it

Options of policy:
  --policy-dir DIR        a policy directory, highest rank first; may be repeated
                          (default: /run/qubes/policy.d, then /etc/qubes/policy.d)
  --system-info FILE      the answer of internal.GetSystemInfo from a file (default: ask qubesd)
  --requested-source NAME the remote qube for which SOURCE relays
  --json                  one line of JSON: answer, reason, exit
  --tag-targets           take @dispvm:@tag:TAG as a target, as the embedded host does
  --state DIR             the state directory of a running \"qubes-host serve\", in place of Qubes OS

Exit codes of policy: 0 allowed, 1 denied, 2 the user would be asked. Of doctor: 0 all is well, 1 otherwise.
Of drain: 1 when something was not gone in time. Of run: the command's; 126 refused. 64 bad command line, 125 our trouble.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &[&str]) -> Result<Command, Failure> {
        parse(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_question_with_everything() {
        let line = [
            "policy",
            "eval",
            "--policy-dir",
            "/a",
            "--policy-dir=/b",
            "--system-info",
            "/s",
            "work",
            "x+y",
            "",
        ];
        let Ok(Command::Eval(question)) = parse_line(&line) else { panic!() };
        assert_eq!(question.policy_dirs, [PathBuf::from("/a"), "/b".into()]);
        assert_eq!(
            (question.call().service, question.call().argument, question.call().target),
            ("x", "+y", "")
        );
        assert!(!question.tag_targets);
        let line = ["policy", "explain", "--state", "/s", "--", "work", "x", "--y"];
        let Ok(Command::Explain(question)) = parse_line(&line) else { panic!() };
        assert!(question.tag_targets && question.target == "--y");
    }

    #[test]
    fn help_is_shown_wherever_it_is_asked_for() {
        for line in [
            &["--help"][..],
            &["drain", "--help"],
            &["status", "--json", "-h"],
            &["policy", "eval", "--help"],
            &["run", "--help"],
        ] {
            assert_eq!(parse_line(line), Ok(Command::Help), "{line:?}");
        }
        assert!(matches!(parse_line(&["run", "--", "x", "--help"]), Ok(Command::Run(_))));
        assert!(matches!(parse_line(&["run", "x", "--help"]), Ok(Command::Run(_))));
    }

    #[test]
    fn p9_words_that_cannot_be_meant_are_named() {
        for (line, part) in [
            (&["x\x1b"][..], "\"x_\""),
            (&["policy"], "eval or explain"),
            (&["policy", "evil"], "evil"),
            (&["policy", "eval", "a", "b"], "here are 2"),
            (&["policy", "eval", "--nosuch", "a", "b", "c"], "--nosuch"),
            (&["policy", "eval", "--state"], "needs a value"),
            (&["policy", "eval", "--state=", "a", "b", "c"], "needs a value"),
            (&["policy", "eval", "a\nb", "b", "c"], "a_b"),
            (&["policy", "eval", "a", "b", "\u{e9}"], "ASCII"),
        ] {
            let failure = parse_line(line).unwrap_err();
            assert!(failure.exit == 64 && failure.to_string().contains(part), "{line:?}: {failure}");
        }
    }
}
