//! `run`: a command or a service on a disposable of its own, called by dom0.

use crate::options::{shown, unknown};
use crate::{Failure, Outcome, sight, status};
use disposable::config::Config;
use disposable::request::Request;
use names::{QubeName, QubeRef, ServiceCall, Target, UserName};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The words after `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// `--state`: the directory of an embedded host.
    pub state: Option<PathBuf>,
    /// `--dispvm`: what the disposable is made of.
    pub target: Target,
    /// `--user`; none means the qube's default user.
    pub user: Option<UserName>,
    /// `--service`, or qubes.VMExec with the command.
    pub service: ServiceCall,
}

impl Order {
    /// Reads the words after `run`.
    ///
    /// # Errors
    /// The first word that cannot be meant.
    pub fn parse(words: &[OsString]) -> Result<Self, Failure> {
        let (mut state, mut target, mut user, mut service) = (None, Target::Dispvm, None, None);
        let mut words = words.iter();
        let mut command: Vec<&OsString> = Vec::new();
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or_default();
            let (name, inline) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
                _ => (text, None),
            };
            let mut value = || {
                let value = inline.clone().or_else(|| words.next().cloned());
                value
                    .filter(|value| !value.is_empty())
                    .ok_or_else(|| Failure::usage(format!("{name} needs a value")))
            };
            match name {
                "--state" => state = Some(value()?.into()),
                "--dispvm" => target = target_of(&value()?)?,
                "--user" => user = Some(parsed("user", &value()?)?),
                "--service" => service = Some(parsed("service", &value()?)?),
                "--" if inline.is_none() => command.extend(words.by_ref()),
                _ if text.starts_with('-') => return Err(unknown("option", Some(word))),
                _ => {
                    command.push(word);
                    command.extend(words.by_ref());
                }
            }
        }
        let service = match (service, command.as_slice()) {
            (Some(service), []) => service,
            (Some(_), _) => return Err(Failure::usage("run: a command or --service, not both")),
            (None, []) => return Err(Failure::usage("run: which command?")),
            (None, command) => vm_exec(command)?,
        };
        Ok(Self { state, target, user, service })
    }

    /// What the disposable's agent is told (spec/qrexec-exec.md, section 1).
    #[must_use]
    pub fn command(&self) -> String {
        let user = self.user.as_ref().map_or("DEFAULT", UserName::as_str);
        format!("{user}:QUBESRPC {} {}", self.service.descriptor(), QubeName::dom0())
    }
}

fn vm_exec(command: &[&OsString]) -> Result<ServiceCall, Failure> {
    let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
    let text = format!("qubes.VMExec+{}", vm::vmexec::encode(&words));
    if text.len() > LONGEST_COMMAND {
        return Err(Failure::usage(format!(
            "the command has {} bytes on the wire, {LONGEST_COMMAND} at most: put it into a script and give that to a shell's standard input",
            text.len()
        )));
    }
    text.parse().map_err(|error| Failure::usage(format!("the command cannot be passed: {error}")))
}

/// `@dispvm…` as a call names it, or the bare name of a template as qvm-run takes it.
fn target_of(word: &OsString) -> Result<Target, Failure> {
    let text = word.to_str().unwrap_or_default();
    let text = if text.starts_with('@') { text.to_owned() } else { format!("@dispvm:{text}") };
    match text.parse::<Target>() {
        Ok(target @ (Target::Dispvm | Target::DispvmOf(_) | Target::DispvmTag(_))) => Ok(target),
        _ => Err(Failure::usage(format!(
            "--dispvm={}: @dispvm, @dispvm:TEMPLATE, @dispvm:@tag:TAG or TEMPLATE",
            shown(word)
        ))),
    }
}

fn parsed<T: std::str::FromStr<Err = names::NameError>>(what: &str, word: &OsString) -> Result<T, Failure> {
    let text = word.to_str().unwrap_or_default();
    text.parse().map_err(|error| Failure::usage(format!("{} is no {what}: {error}", shown(word))))
}

pub(crate) fn outcome(order: &Order) -> Result<Outcome, Failure> {
    let config = sight::config_of(order.state.as_deref())?;
    let target = match &order.target {
        Target::Dispvm => default_of_dom0(&config)?,
        other => other.clone(),
    };
    let request = Request { service: order.service.clone(), source: QubeName::dom0(), target };
    let exit = disposable::call::run(config, &request, &order.command())?;
    let mut outcome = Outcome::said(String::new(), exit);
    if exit == NOT_FOUND && order.service.service.as_str() != "qubes.VMExec" {
        outcome.reason = format!(
            "qvm-dispvm: the disposable has no service {}, or that said \"not found\" itself (exit code 127); its \
             template needs a file of that name in /etc/qubes-rpc\n",
            order.service.service.as_str()
        );
    }
    Ok(outcome)
}

/// What a missing service ends with, as well as a missing command (promise P9).
const NOT_FOUND: u8 = 127;

/// dom0's own default_dispvm, else the system's.
fn default_of_dom0(config: &Config) -> Result<Target, Failure> {
    let cannot = |cause: &str| {
        Failure::trouble(format!(
            "cannot learn dom0's default_dispvm: {cause}; is qubesd running? --dispvm=TEMPLATE needs none"
        ))
    };
    let system = status::system(config).map_err(|cause| cannot(&cause))?;
    let own = system.get("dom0").and_then(|dom0| dom0.default_dispvm.clone()).filter(|name| !name.is_empty());
    let name = match own {
        Some(name) => name,
        None => {
            let system = admin::Client::new(&config.qubesd_socket).system_property_get("default_dispvm");
            system.map_err(|error| cannot(&error.to_string()))?.value
        }
    };
    let none = |_| {
        Failure { exit: 126, text: "dom0 has no default_dispvm; \"qubes-prefs default_dispvm TEMPLATE\" sets one, --dispvm=TEMPLATE needs none".into() }
    };
    name.parse()
        .map(|name| Target::DispvmOf(QubeRef::Name(name)))
        .map_err(|error: names::NameError| none(error))
}

/// A command line must fit the control ring of 4,096 bytes, with user, source and message (spec/qrexec-wire.md 2.1).
const LONGEST_COMMAND: usize = 3900;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Order, Failure> {
        Order::parse(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_or_a_service_with_each_target() {
        let order = parse(&["--dispvm=whonix-ws-14-dvm", "torbrowser", "--user"]).unwrap();
        assert_eq!(order.target.to_string(), "@dispvm:whonix-ws-14-dvm");
        assert_eq!(order.command(), "DEFAULT:QUBESRPC qubes.VMExec+torbrowser+----user dom0");
        let order = parse(&["--user", "root", "--dispvm", "@dispvm:@tag:x", "--service=a.B+c"]).unwrap();
        assert_eq!(order.target.to_string(), "@dispvm:@tag:x");
        assert_eq!(order.command(), "root:QUBESRPC a.B+c dom0");
        assert_eq!(parse(&["--", "x"]).unwrap().target, Target::Dispvm);
    }

    #[test]
    fn p9_words_that_cannot_be_meant_are_named() {
        let long = "x".repeat(4000);
        for (line, part) in [
            (&[][..], "which command"),
            (&["--service", "a", "--", "b"], "not both"),
            (&["--dispvm=@adminvm", "x"], "@adminvm"),
            (&["--dispvm=../x", "x"], "../x"),
            (&["--user=a b", "x"], "a b"),
            (&["--service=a b"], "a b"),
            (&["--nosuch", "x"], "--nosuch"),
            (&["--dispvm"], "needs a value"),
            (&[&long], "4013 bytes"),
        ] {
            let failure = parse(line).unwrap_err();
            assert!(failure.exit == 64 && failure.to_string().contains(part), "{line:?}: {failure}");
        }
    }
}
