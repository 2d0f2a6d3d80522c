//! `doctor`: what is wrong, one line each, with its remedy.

use crate::scope::Scope;
use crate::{Outcome, sight, status, template};
use admin::Client;
use disposable::config::Config;
use disposable::queue::{KeeperLock, Listed, Place, Queue, is_of_another_boot};
use hypervisor::{Hypervisor, HypervisorError, Machine};
use names::{DomId, QubeName, QubeRef, printable};
use policy::SystemInfo;
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// What is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// What it is about: `configuration`, `socket`, `hypervisor`, `queue`, `keeper`, `template`, `preloading` or `claim`.
    about: &'static str,
    wrong: String,
    remedy: String,
}

pub(crate) fn outcome(scope: &Scope) -> Outcome {
    let mut findings = look(scope);
    // What is just happening looks wrong for a moment: only what is still there is told.
    if !findings.is_empty() {
        std::thread::sleep(SECOND_LOOK);
        let second = look(scope);
        findings.retain(|finding| second.contains(finding));
    }
    let exit = u8::from(!findings.is_empty());
    if scope.json {
        let findings: Vec<Value> = findings.iter().map(Finding::json).collect();
        return Outcome::said(format!("{}\n", json!({ "well": exit == 0, "findings": findings })), exit);
    }
    if findings.is_empty() {
        return Outcome::said("all is well\n".into(), exit);
    }
    let lines = findings.iter().map(|one| format!("{}: {}; {}\n", one.about, one.wrong, one.remedy));
    Outcome::said(lines.collect(), exit)
}

fn look(scope: &Scope) -> Vec<Finding> {
    let config = match sight::config_of(scope.state.as_deref()) {
        Ok(config) => config,
        // Without it nobody knows where anything is; the error names the remedy itself.
        Err(failure) => {
            let remedy = "nothing else can be checked before that";
            return vec![Finding::new("configuration", failure, remedy)];
        }
    };
    let mut findings = Vec::new();
    let system = sockets(scope, &config, &mut findings);
    hypervisor(&config, &mut findings);
    permissions(&config, &mut findings);
    keeper(scope, &config, &mut findings);
    if let Some(system) = &system {
        templates(&config, system, &mut findings);
    }
    claims(&config, &mut findings);
    findings
}

fn sockets(scope: &Scope, config: &Config, findings: &mut Vec<Finding>) -> Option<SystemInfo> {
    let remedy = match &scope.state {
        None => "\"systemctl status qubesd\" tells more; this is for root in dom0".to_owned(),
        Some(state) => format!("is \"qubes-host serve --state {}\" running?", state.display()),
    };
    if let Err(error) = Client::new(&config.qubesd_socket).list() {
        let wrong = format!("{} does not answer: {error}", config.qubesd_socket.display());
        findings.push(Finding::new("socket", wrong, &remedy));
    }
    if !config.qrexec_sockets.is_dir() {
        let wrong = format!("{} is not there", config.qrexec_sockets.display());
        findings.push(Finding::new("socket", wrong, "correct qrexec-socket-directory in dispvm.toml"));
    }
    match status::system(config) {
        Ok(system) => Some(system),
        Err(error) => {
            let wrong = format!("{} does not answer: {error}", config.qubesd_internal_socket.display());
            findings.push(Finding::new("socket", wrong, remedy));
            None
        }
    }
}

/// The error names its remedy itself.
fn hypervisor(config: &Config, findings: &mut Vec<Finding>) {
    let asked = Machine::of(config.domains.clone()).info(DomId::DOM0);
    if let Err(error @ HypervisorError::Unavailable(_)) = asked {
        let remedy = "before that no disposable can be paused or woken";
        findings.push(Finding::new("hypervisor", error, remedy));
    }
}

/// Who can write there can make calls go to a disposable of their choice.
fn permissions(config: &Config, findings: &mut Vec<Finding>) {
    if !config.queue.exists() {
        let remedy = "the keeper makes it when it starts";
        findings.push(Finding::new("queue", format!("{} is not there", config.queue.display()), remedy));
        return;
    }
    check_directory(&config.queue, findings);
    for template in Queue::templates(&config.queue).unwrap_or_default() {
        let directory = config.queue.join(template.as_str());
        check_directory(&directory, findings);
        Place::ALL.iter().for_each(|place| check_directory(&directory.join(place.as_str()), findings));
    }
}

fn check_directory(path: &Path, findings: &mut Vec<Finding>) {
    let shown = path.display();
    let metadata = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => metadata,
        Ok(_) => {
            let remedy = "remove it and restart the keeper, which makes it anew";
            return findings.push(Finding::new("queue", format!("{shown} is no directory"), remedy));
        }
        Err(error) => {
            let remedy = "restart the keeper, which makes it anew; run this as root in dom0";
            return findings.push(Finding::new("queue", format!("{shown}: {error}"), remedy));
        }
    };
    if metadata.mode() & 0o002 != 0 {
        let wrong = format!("{shown} can be written by everybody (mode {:03o})", metadata.mode() & 0o777);
        findings.push(Finding::new("queue", wrong, format!("\"chmod o-w {shown}\"")));
    }
    let own = nix::unistd::geteuid().as_raw();
    if metadata.uid() != own && metadata.uid() != 0 {
        let wrong = format!("{shown} belongs to user {}", metadata.uid());
        findings.push(Finding::new("queue", wrong, format!("\"chown root {shown}\"")));
    }
    if nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_err() {
        let remedy = "run this as root in dom0, or mount it writable";
        findings.push(Finding::new("queue", format!("{shown} cannot be written by us"), remedy));
    }
}

fn keeper(scope: &Scope, config: &Config, findings: &mut Vec<Finding>) {
    if !KeeperLock::is_held(&config.queue) {
        let wrong =
            "no keeper lives, or it has been stuck for over a minute: every call starts a cold disposable";
        findings.push(Finding::new("keeper", wrong, scope.keeper_remedy()));
    } else if is_of_another_boot(&config.queue).unwrap_or(false) {
        let wrong = format!("{} is of another boot of this machine", config.queue.display());
        findings.push(Finding::new("queue", wrong, "restart the keeper, which empties it"));
    }
}

fn templates(config: &Config, system: &SystemInfo, findings: &mut Vec<Finding>) {
    let admin = Client::new(&config.qubesd_socket);
    let names = system.qubes().filter(|qube| qube.template_for_dispvms);
    for template in names.filter_map(|qube| qube.name.parse::<QubeName>().ok()) {
        match template::max(&admin, &template) {
            Ok(0) => {}
            Ok(_) => match template::lacks(&admin, &template) {
                Ok(missing) if missing.is_empty() => {}
                Ok(missing) => {
                    let wrong = format!("{template} lacks {}, so none is preloaded", missing.join(", "));
                    let remedy = "update its template and start it once, which sets these features";
                    findings.push(Finding::new("template", wrong, remedy));
                }
                Err(error) => findings.push(unasked(&template, &error)),
            },
            Err(error) => {
                let remedy = format!("\"qvm-features {template} preload-dispvm-max NUMBER\" sets it");
                findings.push(Finding::new("template", format!("{template}: {error}"), remedy));
            }
        }
        match strangers(config, &admin, &template) {
            Ok(strangers) if strangers.is_empty() => {}
            Ok(strangers) => {
                let wrong = format!(
                    "qubesd preloads {template} by itself: {} are in its list and not in our queue",
                    strangers.join(" ")
                );
                let remedy = format!(
                    "only one may: \"qvm-features {template} preload-dispvm-max 0\" (and dom0's) stops qubesd, \"systemctl stop qubes-dispvm-keeper\" stops ours"
                );
                findings.push(Finding::new("preloading", wrong, remedy));
            }
            Err(error) => findings.push(unasked(&template, &error)),
        }
    }
}

fn unasked(template: &QubeName, error: &admin::AdminError) -> Finding {
    Finding::new("template", format!("{template}: {error}"), "\"journalctl -u qubesd\" tells more")
}

/// Qubes of the template's list that exist and are not ours: somebody else preloads (design, section 5).
fn strangers(config: &Config, admin: &Client, template: &QubeName) -> Result<Vec<String>, admin::AdminError> {
    let list = admin.feature_get(&QubeRef::Name(template.clone()), "preload-dispvm")?.unwrap_or_default();
    let queue = Queue::open(&config.queue, template, config.lock_wait).ok().flatten();
    let ours = |place: &Place| queue.as_ref().and_then(|queue| queue.list(*place).ok()).unwrap_or_default();
    let ours: Vec<QubeName> =
        Place::ALL.iter().flat_map(ours).filter_map(|listed| Some(listed.entry?.name)).collect();
    let names = list.split_whitespace().filter_map(|name| name.parse::<QubeName>().ok());
    let strangers = names.filter(|name| !ours.contains(name));
    Ok(strangers
        .filter(|name| admin.qube(&QubeRef::Name(name.clone())).is_ok())
        .map(|name| name.to_string())
        .collect())
}

fn claims(config: &Config, findings: &mut Vec<Finding>) {
    for template in Queue::templates(&config.queue).unwrap_or_default() {
        let Ok(Some(queue)) = Queue::open(&config.queue, &template, config.lock_wait) else { continue };
        for place in [Place::Claimed, Place::Used] {
            for listed in queue.list(place).unwrap_or_default().iter().filter(|listed| is_stale(listed)) {
                let wrong = format!(
                    "{template}/{}/{}: the call that claimed it has died",
                    place.as_str(),
                    printable(listed.file.as_bytes())
                );
                let remedy = "a living keeper destroys it; should it stay, restart the keeper";
                findings.push(Finding::new("claim", wrong, remedy));
            }
        }
    }
}

fn is_stale(listed: &Listed) -> bool {
    listed.claimer.is_none_or(|claimer| !claimer.is_alive())
}

impl Finding {
    fn new(about: &'static str, wrong: impl ToString, remedy: impl ToString) -> Self {
        Self { about, wrong: wrong.to_string(), remedy: remedy.to_string() }
    }

    fn json(&self) -> Value {
        json!({ "about": self.about, "wrong": self.wrong, "remedy": self.remedy })
    }
}

const SECOND_LOOK: Duration = Duration::from_secs(1);
