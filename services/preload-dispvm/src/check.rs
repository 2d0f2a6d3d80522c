//! The check of a fresh disposable: services of its own that end when it is up (spec/disposables.md R61 to R64).

use crate::Shared;
use admin::AdminError;
use names::{QubeName, QubeRef};
use qrexec::data::{CallEnd, Options};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// What a thread that makes a disposable waits for.
#[derive(Debug)]
pub(crate) enum Nudge {
    /// A service of the check has ended: the reason against the disposable, if there is one.
    Checked(Result<(), String>),
    /// Memory was squeezed, or was not.
    Squeezed,
    /// Look at the reservation: it moved.
    Moved,
}

/// The services that a template must support before disposables of it are preloaded (R21, R51).
const SERVICES: [&str; 2] = [RUNNING, "qubes.WaitForSession"];
const RUNNING: &str = "qubes.WaitForRunningSystem";

/// R51: what a template lacks, as a sentence.
pub(crate) fn unsupported(shared: &Shared, template: &QubeName) -> Result<(), String> {
    let qube = QubeRef::Name(template.clone());
    let mut missing = Vec::new();
    for service in SERVICES {
        if !is_true(shared, &qube, &format!("supported-rpc.{service}")).map_err(|error| error.to_string())? {
            missing.push(service);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(format!("it does not support the RPC(s) '{missing}'; check if its template is outdated"))
}

/// R61: with windows, the session is waited for too.
fn services_of(shared: &Shared, qube: &QubeRef) -> &'static [&'static str] {
    let has_gui = || -> Result<bool, AdminError> {
        Ok(!shared.admin.property_get(qube, "guivm")?.value.is_empty()
            && is_true(shared, qube, "gui")?
            && is_true(shared, qube, "supported-feature.late-gui-daemon")?)
    };
    if has_gui().unwrap_or(false) { &SERVICES } else { &SERVICES[..1] }
}

fn is_true(shared: &Shared, qube: &QubeRef, feature: &str) -> Result<bool, AdminError> {
    Ok(shared.admin.feature_check_with_template(qube, feature)?.is_some_and(|value| !value.is_empty()))
}

/// How a check ended.
pub(crate) enum Verdict {
    /// Every service has ended well.
    Healthy,
    /// The reservation does not wait any more: the calls go on, nobody waits for them (R64).
    Moved,
}

/// Calls all services at the same time and waits for them.
pub(crate) fn healthy(
    shared: &Shared,
    name: &QubeName,
    template: &QubeName,
    (sender, nudges): (&Sender<Nudge>, &Receiver<Nudge>),
    still_waits: impl Fn() -> bool,
) -> Result<Verdict, String> {
    let services = services_of(shared, &QubeRef::Name(name.clone()));
    let timeout = shared.config.start_timeout;
    for service in services {
        begin(shared, name, service, sender)?;
    }
    let until = Instant::now() + timeout;
    let mut left = services.len();
    while left > 0 {
        match nudges.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Nudge::Checked(result)) => {
                result?;
                left -= 1;
            }
            Ok(Nudge::Moved) if !still_waits() => return Ok(Verdict::Moved),
            Ok(Nudge::Moved | Nudge::Squeezed) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                // R63; the words are upstream's remedy, so that they can be searched for.
                return Err(format!(
                    "{} did not end within {} s; to debug, run on a new disposable of {template}: systemd-analyze blame",
                    services.join(" or "),
                    timeout.as_secs()
                ));
            }
        }
    }
    Ok(Verdict::Healthy)
}

fn begin(
    shared: &Shared,
    name: &QubeName,
    service: &'static str,
    sender: &Sender<Nudge>,
) -> Result<(), String> {
    let vchan = vchan::Config { dir: shared.config.vchan_directory.clone(), own: names::DomId::DOM0 };
    let client = qrexec::client::Client { socket_dir: shared.config.qrexec_sockets.clone(), vchan };
    let (name, sender) = (name.clone(), sender.clone());
    let call = move || {
        let result = match run_quietly(&client, &name, &format!("DEFAULT:QUBESRPC {service}+ dom0")) {
            Ok(0) => Ok(()),
            Ok(code) => Err(format!("{service} ended with exit code {code}")),
            Err(cause) => Err(format!("{service}: {cause}")),
        };
        // Nobody listens any more when the time was over.
        drop(sender.send(Nudge::Checked(result)));
    };
    std::thread::Builder::new().name("check".into()).spawn(call).map(drop).map_err(|error| error.to_string())
}

/// Runs a service without input, its output dropped; the exit code, or why there is none.
fn run_quietly(client: &qrexec::client::Client, name: &QubeName, command: &str) -> Result<i32, String> {
    let call = client.start(name.as_str(), command).map_err(|error| error.to_string())?;
    let null = || File::options().write(true).open("/dev/null").map(OwnedFd::from);
    let (output, errors) = (null().map_err(|e| e.to_string())?, null().map_err(|e| e.to_string())?);
    let connected = call.connect().map_err(|error| error.to_string())?;
    let report =
        connected.run(None, output, errors.into(), &Options::default()).map_err(|error| error.to_string())?;
    match report.end {
        CallEnd::Exit(code) => Ok(code),
        CallEnd::Lost => Err("the qube ended".into()),
    }
}

/// Waits until memory was squeezed or the reservation moved (R67), whichever comes first.
pub(crate) fn squeezed_or_moved(nudges: &Receiver<Nudge>, limit: Duration, still_waits: impl Fn() -> bool) {
    let until = Instant::now() + limit;
    while let Ok(nudge) = nudges.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if matches!(nudge, Nudge::Squeezed) || matches!(nudge, Nudge::Moved) && !still_waits() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Lists;
    use disposable::config::Config;
    use std::sync::mpsc::channel;

    #[test]
    fn r63_a_service_that_does_not_end_is_not_waited_for_longer_than_said() {
        let directory = tempfile::tempdir().unwrap();
        // A daemon that takes the call and says nothing.
        let socket = directory.path().join("qrexec.disp7");
        let _daemon = os::socket::listen(&socket).unwrap();
        let config = Config {
            qrexec_sockets: directory.path().into(),
            qubesd_socket: directory.path().join("none"),
            start_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        let shared = Shared::new(config, Lists::default());
        let (name, template) = ("disp7".parse().unwrap(), "dvm".parse().unwrap());
        let (sender, receiver) = channel();
        let begun = Instant::now();
        let verdict = healthy(&shared, &name, &template, (&sender, &receiver), || true);
        let Err(reason) = verdict else { panic!("it is not healthy") };
        assert!(begun.elapsed() >= shared.config.start_timeout);
        assert!(reason.contains("qubes.WaitForRunningSystem did not end within 1 s"), "{reason}");
        assert!(reason.contains("on a new disposable of dvm: systemd-analyze blame"), "{reason}");
        // R64: one that was reserved meanwhile is not waited for at all.
        sender.send(Nudge::Moved).unwrap();
        assert!(matches!(
            healthy(&shared, &name, &template, (&sender, &receiver), || false),
            Ok(Verdict::Moved)
        ));
    }
}
