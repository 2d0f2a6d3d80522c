//! Looking: which templates there are, what is in force for them, what lies in their places.

use crate::Shared;
use disposable::keeper::{Domain, Limits, Seen, View, property_matters};
use disposable::queue::{Listed, Place, Queue};
use hypervisor::Hypervisor;
use names::{QubeName, QubeRef};
use qrexec::data::{CallEnd, Options};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::time::Duration;

/// The templates with a queue and what is in force for each; read again when an event says so.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    known: Option<BTreeMap<QubeName, Limits>>,
}

/// A change that makes older disposables of a template stale.
pub(crate) struct Change {
    pub(crate) template: QubeName,
    pub(crate) delay: Duration,
}

impl Templates {
    /// Every template that has a maximum, or had one: its queue must be emptied.
    pub(crate) fn all(&mut self, shared: &Shared) -> Vec<QubeName> {
        if self.known.is_none() {
            match read(shared) {
                Ok(known) => self.known = Some(known),
                Err(error) => log::warn!("cannot read the preload features: {error}"),
            }
        }
        let mut all: HashSet<QubeName> =
            Queue::templates(&shared.config.queue).unwrap_or_default().into_iter().collect();
        all.extend(self.known.iter().flatten().map(|(name, _)| name.clone()));
        let mut all: Vec<QubeName> = all.into_iter().collect();
        all.sort();
        // Without knowledge nothing is started and nothing that waits is thrown away.
        if self.known.is_some() { all } else { Vec::new() }
    }

    pub(crate) fn limits(&self, template: &QubeName) -> Option<Limits> {
        self.known.as_ref()?.get(template).copied()
    }

    pub(crate) fn forget(&mut self) {
        self.known = None;
    }

    /// Takes an event in: features and defaults are read again; what makes disposables stale bumps the generation.
    pub(crate) fn note(&mut self, shared: &Shared, event: &admin::protocol::Event) -> Vec<Change> {
        let name = event.name.as_str();
        if name.contains(":preload-dispvm-max")
            || name.contains(":preload-dispvm-delay")
            || name.contains(":default_dispvm")
            || name.contains(":template_for_dispvms")
            || matches!(name, "domain-add" | "domain-delete" | "connection-established")
        {
            self.forget();
        }
        let Ok(template) = event.subject.parse::<QubeName>() else { return Vec::new() };
        if self.limits(&template).is_none() {
            return Vec::new();
        }
        let property = ["property-set:", "property-reset:", "property-del:"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .filter(|property| property_matters(property));
        let delay = match (name, property) {
            ("domain-shutdown", _) => Duration::from_secs(4),
            (_, Some(_)) => Duration::from_secs(30),
            _ => return Vec::new(),
        };
        match shared.queue(&template).and_then(|queue| queue.bump_generation()) {
            Ok(generation) => log::info!("{template} has changed ({name}): generation {generation}"),
            Err(error) => log::error!("cannot bump the generation of {template}: {error}"),
        }
        vec![Change { template, delay }]
    }
}

fn read(shared: &Shared) -> Result<BTreeMap<QubeName, Limits>, String> {
    let admin = &shared.admin;
    let json = admin::Client::new(&shared.config.qubesd_internal_socket).system_info_json();
    let system = policy::SystemInfo::from_json(&json.map_err(|error| error.to_string())?)
        .map_err(|error| error.to_string())?;
    let dom0 = QubeRef::Name(QubeName::dom0());
    let feature =
        |qube: &QubeRef, feature| admin.feature_get(qube, feature).map_err(|error| error.to_string());
    let dom0_max = feature(&dom0, "preload-dispvm-max")?;
    let dom0_delay = feature(&dom0, "preload-dispvm-delay")?;
    let default = admin.system_property_get("default_dispvm").map_err(|error| error.to_string())?;
    let mut known = BTreeMap::new();
    for qube in system.qubes().filter(|qube| qube.template_for_dispvms) {
        let Ok(name) = qube.name.parse::<QubeName>() else { continue };
        let reference = QubeRef::Name(name.clone());
        let limits = Limits::in_force(
            default.value == name.as_str(),
            feature(&reference, "preload-dispvm-max")?.as_deref(),
            dom0_max.as_deref(),
            feature(&reference, "preload-dispvm-delay")?.as_deref(),
            dom0_delay.as_deref(),
        );
        match limits {
            Ok(limits) if limits.max > 0 => drop(known.insert(name, limits)),
            Ok(_) => {}
            Err(error) => log::error!("{name}: {error}; no disposable of it is preloaded"),
        }
    }
    Ok(known)
}

/// What lies in the places of one template. A full look asks the hypervisor about each waiting disposable.
pub(crate) fn view(
    shared: &Shared,
    template: &QubeName,
    templates: &Templates,
    starting: &HashSet<String>,
    full: bool,
) -> std::io::Result<View> {
    let queue = shared.queue(template)?;
    let limits = templates.limits(template);
    let none = Limits { max: 0, delay: disposable::keeper::Delay::After(Duration::ZERO) };
    let mut seen = Vec::new();
    for place in Place::ALL {
        for Listed { file, entry } in queue.list(place)? {
            let owner_lives = match place {
                Place::Starting => starting.contains(&file),
                _ => entry.as_ref().and_then(|entry| entry.claimer).is_some_and(|claimer| claimer.is_alive()),
            };
            let domain = match &entry {
                Some(entry) if full && place == Place::Ready => check(shared, entry),
                _ => Domain::Unchecked,
            };
            seen.push(Seen { place, file, entry, owner_lives, domain });
        }
    }
    Ok(View {
        template: template.clone(),
        limits: limits.unwrap_or(none),
        generation: queue.generation()?,
        seen,
    })
}

fn check(shared: &Shared, entry: &disposable::entry::Entry) -> Domain {
    match shared.hypervisor.info(entry.domid) {
        Ok(Some(info)) if info.uuid != entry.uuid || info.dying => Domain::Gone,
        Ok(Some(info)) if info.paused => Domain::Paused,
        Ok(Some(_)) => Domain::Running,
        Ok(None) => Domain::Gone,
        Err(error) => {
            log::warn!("cannot look at {}: {error}", entry.name);
            Domain::Unchecked
        }
    }
}

/// Runs a service without input, its output dropped; the exit code, or why there is none.
pub(crate) fn run_quietly(
    client: &qrexec::client::Client,
    name: &QubeName,
    command: &str,
    timeout: Duration,
) -> Result<i32, String> {
    let call = client.start(name.as_str(), command).map_err(|error| error.to_string())?;
    let (sender, receiver) = mpsc::sync_channel(1);
    let work = move || {
        let run = || {
            let null = || File::options().write(true).open("/dev/null").map(OwnedFd::from);
            let (output, errors) = (null().map_err(|e| e.to_string())?, null().map_err(|e| e.to_string())?);
            let connected = call.connect().map_err(|error| error.to_string())?;
            connected.run(None, output, errors, &Options::default()).map_err(|error| error.to_string())
        };
        // Nobody listens any more when the time was over.
        drop(sender.send(run()));
    };
    std::thread::Builder::new().name("check".into()).spawn(work).map_err(|error| error.to_string())?;
    match receiver.recv_timeout(timeout) {
        Ok(Ok(report)) => match report.end {
            CallEnd::Exit(code) => Ok(code),
            CallEnd::Lost => Err("the qube ended".into()),
        },
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
    }
}
