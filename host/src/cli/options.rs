//! The command line, as text in and a value out. Pure.

use names::{QubeName, Target};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the user asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `open FILE_OR_URL`
    Open(Settings, OsString),
    /// `serve`
    Serve(Settings),
    /// `exec QUBE -- COMMAND…`
    Exec {
        /// `--state`
        state: Option<PathBuf>,
        /// The qube.
        qube: QubeName,
        /// Program and arguments.
        command: Vec<OsString>,
    },
    /// `ls`
    Ls {
        /// `--state`
        state: Option<PathBuf>,
        /// `--json`
        json: bool,
    },
    /// `bench`
    Bench {
        /// `--json`
        json: bool,
        /// `--only`
        only: Vec<String>,
        /// `--hypervisor xen`: what can be counted on Xen, from so many hand-overs (`--rounds`).
        xen: Option<usize>,
    },
    /// `help`, `--help`, `COMMAND --help`
    Help,
}

/// Options of `open` and `serve`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `--view-only`
    pub view_only: bool,
    /// `--with`: the application in the disposable.
    pub with: Option<String>,
    /// `--preload`: how many disposables wait.
    pub preload: usize,
    /// `--dispvm`: the target of the call.
    pub dispvm: Target,
    /// `--json`
    pub json: bool,
    /// `--state`
    pub state: Option<PathBuf>,
    /// `--assume`: the answer to every question of the policy to the user.
    pub assume: Option<Target>,
    /// `--policy-socket`: a policy daemon to ask in place of this host's own.
    pub policy_socket: Option<PathBuf>,
    /// `--hypervisor xen`: qubes as domains of this machine's Xen.
    pub xen: bool,
    /// `--processes`: qubes as plain processes even where namespaces would do.
    pub processes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            view_only: false,
            with: None,
            preload: 2,
            dispvm: Target::Dispvm,
            json: false,
            state: None,
            assume: None,
            policy_socket: None,
            xen: false,
            processes: false,
        }
    }
}

/// A command line that cannot be meant: one line for the user, exit code 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(pub String);

/// Reads the words after the program's name.
///
/// # Errors
/// The first word that cannot be meant, and what could.
pub fn parse(words: &[OsString]) -> Result<Command, UsageError> {
    let Some((first, rest)) = words.split_first() else { return Ok(Command::Help) };
    let help = rest.first().is_some_and(|word| word == "--help" || word == "-h");
    match first.to_str() {
        Some("open" | "serve" | "exec" | "ls" | "bench") if help => Ok(Command::Help),
        Some("open") => {
            let (settings, mut plain) = settings(rest)?;
            match (plain.pop(), plain.is_empty()) {
                (Some(file), true) if !file.is_empty() => Ok(Command::Open(settings, file)),
                (Some(_), true) => Err(UsageError("open: the file or URL is empty".into())),
                (None, _) => Err(UsageError("open: which file or URL? qubes-host open FILE_OR_URL".into())),
                (Some(_), false) => Err(UsageError("open: one file or URL at a time".into())),
            }
        }
        Some("serve") => match settings(rest)? {
            (settings, plain) if plain.is_empty() => Ok(Command::Serve(settings)),
            (_, plain) => Err(unexpected("serve", plain.first())),
        },
        Some("exec") => exec(rest),
        Some("ls") => {
            let (settings, plain) = settings(rest)?;
            match plain.first() {
                None => Ok(Command::Ls { state: settings.state, json: settings.json }),
                word => Err(unexpected("ls", word)),
            }
        }
        Some("bench") => bench(rest),
        Some("help" | "--help" | "-h") => Ok(Command::Help),
        _ => {
            Err(UsageError(format!("unknown command {}: open, serve, exec, ls, bench or help", shown(first))))
        }
    }
}

fn settings(words: &[OsString]) -> Result<(Settings, Vec<OsString>), UsageError> {
    let mut settings = Settings::default();
    let mut plain = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(option) = word.to_str().filter(|text| text.starts_with('-') && *text != "-") else {
            plain.push(word.clone());
            continue;
        };
        let (name, inline) = match option.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (option, None),
        };
        let mut value = || {
            inline
                .clone()
                .or_else(|| words.next().cloned())
                .ok_or_else(|| UsageError(format!("{name} needs a value")))
        };
        match name {
            "--view-only" => settings.view_only = true,
            "--json" => settings.json = true,
            "--processes" => settings.processes = true,
            "--hypervisor" => {
                settings.xen = match text(name, &value()?)?.as_str() {
                    "xen" => true,
                    "namespaces" => false,
                    given => return Err(UsageError(format!("--hypervisor {given}: xen or namespaces"))),
                }
            }
            "--with" => settings.with = Some(text(name, &value()?)?),
            "--state" => settings.state = Some(value()?.into()),
            "--assume" => {
                let given = text(name, &value()?)?;
                settings.assume = match given.parse() {
                    Ok(Target::Default | Target::DispvmTag(_)) => {
                        return Err(UsageError(format!(
                            "--assume {given}: no such target is ever offered; {ASSUME_FORMS}"
                        )));
                    }
                    Ok(target) => Some(target),
                    Err(error) => return Err(UsageError(format!("--assume: {error}; {ASSUME_FORMS}"))),
                };
            }
            "--policy-socket" => {
                let given = PathBuf::from(value()?);
                // The daemons change their working directory.
                settings.policy_socket = Some(std::path::absolute(&given).unwrap_or(given));
            }
            "--preload" => {
                let given = text(name, &value()?)?;
                settings.preload = match given.parse() {
                    Ok(number) if number <= 1024 => number,
                    _ => return Err(UsageError(format!("--preload {given}: a whole number from 0 to 1024"))),
                };
            }
            "--dispvm" => {
                let given = text(name, &value()?)?;
                settings.dispvm = match given.parse() {
                    Ok(target @ (Target::Dispvm | Target::DispvmOf(_) | Target::DispvmTag(_))) => target,
                    Ok(other) => return Err(UsageError(format!("--dispvm {other}: {DISPVM_FORMS}"))),
                    Err(error) => {
                        let given = names::printable(given.as_bytes());
                        return Err(UsageError(format!("--dispvm {given}: {error}; {DISPVM_FORMS}")));
                    }
                };
            }
            "--" => {
                plain.extend(words.by_ref().cloned());
            }
            _ => {
                return Err(UsageError(format!("unknown option {}; qubes-host help lists all", shown(word))));
            }
        }
    }
    Ok((settings, plain))
}

fn exec(words: &[OsString]) -> Result<Command, UsageError> {
    let usage = || UsageError("exec: qubes-host exec [--state DIR] QUBE -- COMMAND [ARGUMENT…]".into());
    let split = words.iter().position(|word| word == "--").ok_or_else(usage)?;
    let (before, after) = words.split_at(split);
    let (settings, plain) = settings(before)?;
    let command = after.get(1..).unwrap_or_default().to_vec();
    match plain.as_slice() {
        [qube] if !command.is_empty() => {
            let qube = text("QUBE", qube)?
                .parse()
                .map_err(|error: names::NameError| UsageError(error.to_string()))?;
            Ok(Command::Exec { state: settings.state, qube, command })
        }
        _ => Err(usage()),
    }
}

fn bench(words: &[OsString]) -> Result<Command, UsageError> {
    let (mut json, mut only, mut xen, mut rounds) = (false, Vec::new(), false, None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--json") => json = true,
            Some("--hypervisor") if words.next().is_some_and(|name| name == "xen") => xen = true,
            Some("--rounds") => {
                let given = words.next().and_then(|word| word.to_str()?.parse().ok());
                rounds = given.filter(|rounds| (1..=1000).contains(rounds));
                if rounds.is_none() {
                    return Err(UsageError("--rounds: a whole number from 1 to 1000".into()));
                }
            }
            Some("--only") => {
                let names =
                    words.next().ok_or_else(|| UsageError("--only needs names: --only claim,wake".into()))?;
                only.extend(text("--only", names)?.split(',').map(str::to_owned));
            }
            _ => return Err(unexpected("bench", Some(word))),
        }
    }
    match (xen, rounds) {
        (false, Some(_)) => Err(UsageError("--rounds goes with --hypervisor xen".into())),
        _ => Ok(Command::Bench { json, only, xen: xen.then(|| rounds.unwrap_or(XEN_ROUNDS)) }),
    }
}

fn text(option: &str, value: &OsString) -> Result<String, UsageError> {
    value
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| UsageError(format!("{option}: {} is not text", shown(value))))
}

fn unexpected(command: &str, word: Option<&OsString>) -> UsageError {
    UsageError(format!("{command}: unexpected {}", word.map_or_else(String::new, shown)))
}

fn shown(word: &OsString) -> String {
    format!("\"{}\"", names::printable(word.as_encoded_bytes()))
}

/// A hand-over on Xen uses up a domain, whose successor takes seconds to start.
const XEN_ROUNDS: usize = 2;
const DISPVM_FORMS: &str = "@dispvm, @dispvm:NAME or @dispvm:@tag:TAG";
const ASSUME_FORMS: &str = "a qube, dom0, @dispvm or @dispvm:NAME";

/// The text of `help`.
pub const HELP: &str = "\
qubes-host: disposables of Qubes OS on any Linux machine

  qubes-host open [OPTIONS] FILE_OR_URL   open it in a disposable; an edited file comes back
  qubes-host serve [OPTIONS]              start the embedded dom0 and stay until Ctrl-C
  qubes-host exec [--state DIR] QUBE -- COMMAND [ARGUMENT…]
                                          run a command in a qube of a running serve
  qubes-host ls [--state DIR] [--json]    list the qubes of a running serve
  qubes-host bench [--json] [--only NAME,…] [--hypervisor xen [--rounds N]]
                                          measure, each figure beside its floor

Options of open and serve:
  --with COMMAND    the application in the disposable; gets the file's path as last argument (default: xdg-open)
  --view-only       open does not bring changes back
  --preload N       how many disposables wait, started and paused (default 2; 0: always start cold)
  --dispvm TARGET   @dispvm (default), @dispvm:NAME or @dispvm:@tag:TAG
  --assume TARGET   the answer wherever the policy leaves a call to the user, if TARGET is among the choices
                    (default: ask on the terminal; refuse where there is none)
  --policy-socket PATH  a policy daemon to ask in place of the embedded one
  --json            the story as one JSON object a line on stdout
  --state DIR       where everything lives (default: a private directory)
  --hypervisor xen  qubes as domains of the Xen that this machine runs on, as root in dom0 (docs/xen.md)
  --processes       plain processes in place of namespaces: no isolation at all

open exits with the exit code of the call: 0 done, 126 refused, 125 our trouble, else the application's.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn open_with_everything() {
        let mut all = words("open --view-only --preload=0 --dispvm @dispvm:x --json --state /s --with");
        all.extend(["sed -i s/a/b/".into(), "a file".into()]);
        let Ok(Command::Open(settings, file)) = parse(&all) else { panic!() };
        assert_eq!(file, "a file");
        assert_eq!(settings.with.as_deref(), Some("sed -i s/a/b/"));
        assert_eq!((settings.preload, settings.view_only, settings.json), (0, true, true));
    }

    #[test]
    fn help_is_given_wherever_it_is_asked_for() {
        for line in
            ["", "help", "--help", "-h", "open --help", "serve -h", "exec --help", "ls --help", "bench -h"]
        {
            assert!(matches!(parse(&words(line)), Ok(Command::Help)), "{line}");
        }
        assert!(parse(&words("nosuch --help")).is_err());
    }

    #[test]
    fn p9_words_that_cannot_be_meant_are_named() {
        for (line, part) in [
            ("open", "which file"),
            ("open a b", "one file"),
            ("open --nosuch a", "--nosuch"),
            ("open --preload x a", "--preload"),
            ("open --preload", "needs a value"),
            ("open --dispvm work a", "@dispvm"),
            ("open --dispvm @dispvm:../x a", "@dispvm:../x"),
            ("serve --assume @default", "--assume"),
            ("serve --assume @dispvm:@tag:x", "is ever offered"),
            ("serve --assume ../x", "../x"),
            ("serve --policy-socket", "needs a value"),
            ("serve --hypervisor kvm", "xen or namespaces"),
            ("serve a", "unexpected"),
            ("exec work ls", "QUBE -- COMMAND"),
            ("exec work --", "QUBE -- COMMAND"),
            ("exec ../x -- ls", "../x"),
            ("nosuch", "unknown command"),
            ("bench --rounds 3", "--hypervisor xen"),
            ("bench --hypervisor xen --rounds 0", "from 1"),
        ] {
            let UsageError(text) = parse(&words(line)).unwrap_err();
            assert!(text.contains(part), "{line}: {text}");
        }
    }

    #[test]
    fn a_file_after_two_dashes_may_look_like_an_option() {
        assert!(matches!(parse(&words("open -- --json")), Ok(Command::Open(_, file)) if file == "--json"));
        assert!(
            matches!(parse(&words("exec work -- ls -l --")), Ok(Command::Exec { command, .. }) if command.len() == 3)
        );
    }
}
