//! Which templates have a queue, what is in force for each, and which events make their disposables stale.

use crate::{Shared, recover};
use disposable::keeper::{Limits, parse_threshold, property_matters};
use disposable::queue::Queue;
use names::{QubeName, QubeRef};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// The templates with a queue; read again when an event says so.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    known: Option<Known>,
    /// Whether it is to be read again. Until then what was known still tells whom an event is about.
    outdated: bool,
}

#[derive(Debug, Default)]
struct Known {
    limits: BTreeMap<QubeName, Limits>,
    /// The TemplateVM of each.
    bases: BTreeMap<QubeName, QubeName>,
    /// The netvm of each that has one.
    netvms: BTreeMap<QubeName, QubeName>,
    /// MiB that are to stay free (R30).
    threshold: u64,
}

/// A change that makes older disposables of a template stale.
pub(crate) struct Change {
    pub(crate) template: QubeName,
    pub(crate) delay: Duration,
}

impl Templates {
    /// Every template that has a maximum, or had one: its queue must be emptied.
    pub(crate) fn all(&mut self, shared: &Shared) -> Vec<QubeName> {
        if !self.are_known() {
            match read(shared) {
                Ok(known) => (self.known, self.outdated) = (Some(known), false),
                Err(error) => log::warn!("cannot read the preload features: {error}"),
            }
        }
        // Without knowledge nothing is started and nothing that waits is thrown away.
        let Some(known) = self.known.as_ref().filter(|_| !self.outdated) else { return Vec::new() };
        let mut all: HashSet<QubeName> =
            Queue::templates(&shared.config.queue).unwrap_or_default().into_iter().collect();
        all.extend(known.limits.keys().cloned());
        let mut all: Vec<QubeName> = all.into_iter().collect();
        all.sort();
        all
    }

    pub(crate) fn limits(&self, template: &QubeName) -> Option<Limits> {
        self.known.as_ref()?.limits.get(template).copied()
    }

    pub(crate) fn threshold(&self) -> u64 {
        self.known.as_ref().map_or(0, |known| known.threshold)
    }

    pub(crate) fn are_known(&self) -> bool {
        self.known.is_some() && !self.outdated
    }

    pub(crate) fn forget(&mut self) {
        self.outdated = true;
    }

    /// Takes an event in: features and defaults are read again; what makes disposables stale bumps the generation (R94).
    pub(crate) fn note(&mut self, shared: &Shared, event: &admin::protocol::Event) -> Vec<Change> {
        let name = event.name.as_str();
        let Ok(subject) = event.subject.parse::<QubeName>() else {
            self.forget_if_about_limits(name);
            return Vec::new();
        };
        let property = ["property-set:", "property-reset:", "property-del:"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        if property == Some("netvm") {
            self.note_netvm(&subject, event.value("newvalue"));
        }
        let changes = match (name, property) {
            // What was connected to its network is connected no more, and a paused one cannot be connected again (R99 to
            // R101, users.md M25).
            ("domain-start" | "domain-shutdown", _) if self.is_netvm(&subject) => self
                .behind(&subject)
                .into_iter()
                .map(|template| Change { template, delay: AFTER_VOLUMES })
                .collect(),
            ("domain-shutdown", _) => self
                .of_shutdown(&subject)
                .into_iter()
                .filter(|template| recover::is_outdated(shared, template).unwrap_or(true))
                .map(|template| Change { template, delay: AFTER_VOLUMES })
                .collect(),
            // Its own template is changed while nothing of it runs, and then everything of it is new (R49).
            (_, Some(property)) if property_matters(property) || property == "template" => self
                .limits(&subject)
                .map(|_| Change { template: subject, delay: AFTER_PROPERTY })
                .into_iter()
                .collect(),
            _ => Vec::new(),
        };
        for change in &changes {
            recover::made_stale(shared, &change.template, name);
        }
        self.forget_if_about_limits(name);
        changes
    }

    fn forget_if_about_limits(&mut self, event: &str) {
        let about =
            [":preload-dispvm-max", ":preload-dispvm-delay", ":preload-dispvm-threshold", ":default_dispvm"];
        let about = about.iter().any(|part| event.ends_with(part));
        let about_class = [":template_for_dispvms", ":template", ":netvm", ":default_netvm"]
            .iter()
            .any(|part| event.ends_with(part));
        if about || about_class || matches!(event, "domain-add" | "domain-delete" | "connection-established")
        {
            self.forget();
        }
    }

    /// The next event may be about the new one already, before all is read again.
    fn note_netvm(&mut self, template: &QubeName, netvm: Option<&str>) {
        let Some(known) = self.known.as_mut().filter(|known| known.limits.contains_key(template)) else {
            return;
        };
        if let Some(netvm) = netvm.and_then(|netvm| netvm.parse().ok()) {
            known.netvms.insert(template.clone(), netvm);
        }
    }

    fn is_netvm(&self, qube: &QubeName) -> bool {
        self.known.as_ref().is_some_and(|known| known.netvms.values().any(|netvm| netvm == qube))
    }

    /// The templates whose disposables get their network from a qube.
    fn behind(&self, netvm: &QubeName) -> Vec<QubeName> {
        let Some(known) = &self.known else { return Vec::new() };
        known.netvms.iter().filter(|(_, of)| *of == netvm).map(|(template, _)| template.clone()).collect()
    }

    /// The templates whose volumes the end of a qube changes: itself, and those based on it.
    fn of_shutdown(&self, ended: &QubeName) -> Vec<QubeName> {
        let Some(known) = &self.known else { return Vec::new() };
        let is_about = |template: &&QubeName| *template == ended || known.bases.get(*template) == Some(ended);
        known.limits.keys().filter(is_about).cloned().collect()
    }
}

fn read(shared: &Shared) -> Result<Known, String> {
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
    let mut known = Known::default();
    match parse_threshold(&feature(&dom0, "preload-dispvm-threshold")?.unwrap_or_default()) {
        Ok(threshold) => known.threshold = threshold,
        Err(error) => log::error!("dom0: {error}; no memory is kept free"),
    }
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
            Ok(limits) if limits.max > 0 => {
                let qube_in = |property| -> Option<(QubeName, QubeName)> {
                    let value = admin.property_get(&reference, property).ok()?.value;
                    Some((name.clone(), value.parse().ok()?))
                };
                known.bases.extend(qube_in("template"));
                known.netvms.extend(qube_in("netvm"));
                known.limits.insert(name, limits);
            }
            Ok(_) => {}
            Err(error) => log::error!("{name}: {error}; no disposable of it is preloaded"),
        }
    }
    Ok(known)
}

/// R43.
const AFTER_VOLUMES: Duration = Duration::from_secs(4);
const AFTER_PROPERTY: Duration = Duration::from_secs(30);
