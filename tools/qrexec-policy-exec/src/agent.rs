//! Asks and tells the user by the policy agent of the qube with the screen (spec/qrexec-wire.md 9.5).

use policy::protocol::{
    AGENT_ANSWER_LIMIT, ASK_SERVICE, AgentAnswer, NOTIFY_SERVICE, Resolution, guivm, notification, preamble,
};
use policy::{Ask, Call, Decision, DenyReason, SystemInfo};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The ways to policy agents.
#[derive(Debug, Clone)]
pub struct Agents {
    /// Directories in which dom0's own agent has its sockets `policy.Ask` and `policy.Notify`; the first that has one
    /// counts.
    pub services: Vec<PathBuf>,
    /// The program that reaches the agent of another qube.
    pub client: PathBuf,
}

/// How long dom0's agent may take to accept a notification; nobody waits for the user to read it.
const NOTIFY_LIMIT: Duration = Duration::from_secs(5);

impl Agents {
    /// The usual ways; `QREXEC_SERVICE_PATH` names other directories, with a colon between two.
    #[must_use]
    pub fn from_environment() -> Self {
        let services = match std::env::var_os("QREXEC_SERVICE_PATH") {
            Some(paths) => std::env::split_paths(&paths).collect(),
            None => vec!["/etc/qubes-rpc".into()],
        };
        Self { services, client: "/usr/bin/qrexec-client".into() }
    }

    /// Whether dom0 has an agent of its own.
    #[must_use]
    pub fn has_local(&self) -> bool {
        self.socket(ASK_SERVICE).is_some()
    }

    /// Puts the question to the user of the caller's guivm and waits for the answer, for as long as it takes. Whatever is
    /// not a clear yes to one of the choices is a no.
    #[must_use]
    pub fn decide(&self, ask: &Ask, system: &SystemInfo) -> Decision {
        match ask.guivm(system) {
            Some(guivm) => self.decide_in(guivm, ask, system),
            None => ask.refuse_because(DenyReason::NobodyToAsk(format!("{} has no guivm", ask.source))),
        }
    }

    /// Puts the question to the user of this qube, whatever the caller's guivm is.
    #[must_use]
    pub fn decide_in(&self, guivm: &str, ask: &Ask, system: &SystemInfo) -> Decision {
        match self.exchange(guivm, ASK_SERVICE, &ask.to_json(system)) {
            Ok(bytes) => match AgentAnswer::parse(&bytes) {
                AgentAnswer::Allow(target) => ask.answer(&target, system),
                AgentAnswer::Deny => ask.refuse(),
                AgentAnswer::Invalid => ask.invalid_answer(),
            },
            Err(error) => {
                ask.refuse_because(DenyReason::NobodyToAsk(format!("the policy agent of {guivm}: {error}")))
            }
        }
    }

    /// Tells the user of a decision, where its rule says so. Failures are logged only.
    pub fn notify(&self, call: &Call<'_>, decision: &Decision, system: &SystemInfo) {
        if let Some(guivm) = guivm(call.source, system) {
            self.notify_in(guivm, call, decision);
        }
    }

    /// The same to the user of this qube, whatever the caller's guivm is.
    pub fn notify_in(&self, guivm: &str, call: &Call<'_>, decision: &Decision) {
        let (resolution, target) = match decision {
            Decision::Allow(allow) if allow.notify => (Resolution::Allow, allow.grant.target.as_str()),
            Decision::Deny(deny) if deny.notify => (Resolution::Deny, call.target),
            _ => return,
        };
        let json = notification(resolution, call, target);
        let told = if guivm == "dom0" {
            self.local(NOTIFY_SERVICE, &json, Some(NOTIFY_LIMIT)).map(drop)
        } else {
            self.send(guivm, &json)
        };
        if let Err(error) = told {
            log::warn!("the policy agent of {guivm} was not told: {error}");
        }
    }

    fn exchange(&self, guivm: &str, service: &str, json: &[u8]) -> io::Result<Vec<u8>> {
        if guivm == "dom0" { self.local(service, json, None) } else { self.remote(guivm, service, json) }
    }

    fn socket(&self, service: &str) -> Option<PathBuf> {
        self.services.iter().map(|directory| directory.join(service)).find(|path| path.exists())
    }

    fn local(&self, service: &str, json: &[u8], limit: Option<Duration>) -> io::Result<Vec<u8>> {
        let missing = || {
            let places: Vec<String> = self.services.iter().map(|path| path.display().to_string()).collect();
            io::Error::new(io::ErrorKind::NotFound, format!("there is no {service} in {}", places.join(", ")))
        };
        let mut socket = os::socket::connect(&self.socket(service).ok_or_else(missing)?)?;
        socket.set_read_timeout(limit)?;
        socket.set_write_timeout(limit)?;
        socket.write_all(&[&preamble(service), json].concat())?;
        socket.shutdown(Shutdown::Write)?;
        read_answer(&mut socket)
    }

    fn remote(&self, guivm: &str, service: &str, json: &[u8]) -> io::Result<Vec<u8>> {
        let mut child = self
            .command(guivm, service)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| self.named(&error))?;
        let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let written = input.write_all(json);
        drop(input);
        let mut output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let answer = read_answer(&mut output);
        drop(output);
        let status = child.wait()?;
        written?;
        if !status.success() {
            return Err(io::Error::other(format!("{} failed with {status}", self.client.display())));
        }
        answer
    }

    /// Does not wait for the call's end.
    fn send(&self, guivm: &str, json: &[u8]) -> io::Result<()> {
        let mut child = self
            .command(guivm, NOTIFY_SERVICE)
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| self.named(&error))?;
        child.stdin.take().map_or(Ok(()), |mut input| input.write_all(json))
    }

    fn command(&self, guivm: &str, service: &str) -> Command {
        let mut command = Command::new(&self.client);
        command.args(["-d", guivm, &format!("DEFAULT:QUBESRPC {service} dom0")]).stdin(Stdio::piped());
        command
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.client.display()))
    }
}

/// Up to the end, but no more than one byte above what an answer may have.
fn read_answer(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    source.take(u64::try_from(AGENT_ANSWER_LIMIT).unwrap_or(u64::MAX)).read_to_end(&mut answer)?;
    Ok(answer)
}
