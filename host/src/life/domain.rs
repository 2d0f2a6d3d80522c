//! A qube's domain: the one place that talks to the hypervisor.

use super::start::{Failure, Plan};
use crate::config::HostConfig;
use crate::dom0::Dom0;
use crate::xen::{Domains, Wish};
use hypervisor::local::{Created, Isolation, Local, Mount, Pausing, Spec};
use hypervisor::{DomainInfo, Hypervisor, HypervisorError};
use names::DomId;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use trace::Event;

/// Where packages install the programs of qubes.
const IN_QUBES: &str = "usr/lib/qubes-dispvm/qubes-vm";
const VCHAN_INSIDE: &str = "/run/vchan";
const AGENT_INSIDE: &str = "/run/qubes/bin/qrexec-agent";
/// The qube that the user's own files are shared with.
const WORK: &str = "work";

/// Creates the domain of a qube and watches for its end. Returns how it is kept apart. The number of the domain may be
/// another than planned: Xen chooses.
pub(super) fn create(dom0: &Arc<Dom0>, plan: &mut Plan, directory: PathBuf) -> Result<Isolation, Failure> {
    if let Some(domains) = &dom0.xen {
        return create_on_xen(dom0, domains, plan, directory);
    }
    let spec = spec(dom0, plan, directory)?;
    let created = dom0
        .local
        .create(&spec, &dom0.config.executable)
        .map_err(|error| Failure(format!("its domain cannot be created: {error}")))?;
    let Created { isolation, refusal, mut supervisor, .. } = created;
    if let Some(refusal) = refusal {
        warn_once(dom0, &refusal);
    }
    let name = plan.name.clone();
    // On failure its lifeline is dropped, and the domain ends.
    let (domid, lifeline) = (plan.domid, supervisor.stdin.take());
    watch(dom0, plan, move |dom0| {
        match supervisor.wait() {
            Ok(status) => log::debug!("the domain of {name} ended: {status}"),
            Err(error) => log::error!("waiting for the end of {name}: {error}"),
        }
        // A supervisor that was killed has not cleared it away.
        if let Err(error) = destroy(dom0, domid) {
            log::error!("{name}: {error}");
        }
    })?;
    dom0.with_state(|state| state.lives.hold(&plan.name, domid, lifeline));
    Ok(isolation)
}

/// What nobody may overlook who wanted qubes kept apart.
fn warn_once(dom0: &Dom0, refusal: &str) {
    if !dom0.with_state(|state| std::mem::replace(&mut state.lives.has_warned, true)) {
        let text = format!(
            "WARNING: NOTHING ISOLATES THE QUBES, they are plain processes: this machine refuses namespaces ({refusal}); \
             \"sysctl user.max_user_namespaces kernel.apparmor_restrict_unprivileged_userns kernel.unprivileged_userns_clone\" \
             shows what decides that"
        );
        log::warn!("{text}");
        dom0.reporter.report(&Event::now("host", "warning", "", text));
    }
}

fn create_on_xen(
    dom0: &Arc<Dom0>,
    domains: &Domains,
    plan: &mut Plan,
    directory: PathBuf,
) -> Result<Isolation, Failure> {
    let template = plan.template.as_ref().map(|template| dom0.layout().qube(template.as_str()));
    let places = [directory].into_iter().chain(template).collect();
    let wish = Wish { name: &plan.name, uuid: plan.uuid, places };
    let domid =
        domains.create(&wish).map_err(|error| Failure(format!("its domain cannot be created: {error}")))?;
    let is_current = dom0.with_state(|state| {
        let is_current = plan.is_current(state);
        if is_current {
            state.lives.renumber(&plan.name, domid);
        }
        is_current
    });
    let take_back = |text: String| {
        if let Err(error) = domains.destroy(domid) {
            log::error!("{}: {error}", plan.name);
        }
        Failure(text)
    };
    if !is_current {
        return Err(take_back("it was ended before it ran".into()));
    }
    plan.domid = domid;
    let watched = watch(dom0, plan, move |dom0| {
        let Some(domains) = &dom0.xen else { return };
        domains.wait(domid);
        // One that has ended by itself is still there.
        match domains.destroy(domid) {
            Ok(()) | Err(HypervisorError::NoSuchDomain(_)) => {}
            Err(error) => log::error!("domain {domid}: {error}"),
        }
    });
    watched.map_err(|Failure(text)| take_back(text))?;
    Ok(Isolation::Namespaces)
}

/// Waits for the end of a domain, in a thread, and tells of it.
fn watch(dom0: &Arc<Dom0>, plan: &Plan, wait: impl FnOnce(&Dom0) + Send + 'static) -> Result<(), Failure> {
    let (dom0, name, domid) = (dom0.clone(), plan.name.clone(), plan.domid);
    let watch = move || {
        wait(&dom0);
        dom0.domain_ended(&name, domid);
    };
    thread::Builder::new()
        .name("domain".into())
        .spawn(watch)
        .map(drop)
        .map_err(|error| Failure(format!("no thread to watch over it: {error}")))
}

/// The domains of a host whose qubes are domains of Xen.
///
/// # Errors
/// Their images cannot be made.
pub(crate) fn xen_domains(config: &HostConfig) -> io::Result<Option<Domains>> {
    let Some(settings) = &config.xen else { return Ok(None) };
    let (programs, services) = (program_names(), services(config));
    let domains = Domains::new(
        settings.clone(),
        &config.layout,
        &config.program(IN_QUBES),
        &programs,
        &services,
        &config.environment,
    )?;
    Ok(Some(domains))
}

fn program_names() -> Vec<String> {
    vm::PROGRAMS.iter().chain(crate::programs::EXTRA).map(|name| (*name).to_owned()).collect()
}

fn services(config: &HostConfig) -> Vec<(String, String)> {
    let mut services: Vec<(String, String)> =
        vm::SERVICES.iter().map(|(name, program)| ((*name).to_owned(), (*program).to_owned())).collect();
    for (service, program) in &config.services {
        services.retain(|(known, _)| known != service);
        services.push((service.clone(), program.clone()));
    }
    services
}

fn spec(dom0: &Dom0, plan: &Plan, directory: PathBuf) -> Result<Spec, Failure> {
    let config = &dom0.config;
    let mut mounts =
        vec![Mount { source: dom0.layout().vchan(), target: VCHAN_INSIDE.into(), writable: true }];
    if plan.name.as_str() == WORK {
        mounts.extend(config.work_mounts.iter().cloned());
    }
    let mut environment = config.environment.clone();
    environment.extend([
        ("VCHAN_SOCKET_DIR".to_owned(), VCHAN_INSIDE.to_owned()),
        ("VCHAN_DOMAIN".to_owned(), plan.domid.to_string()),
        ("QUBE_NAME".to_owned(), plan.name.to_string()),
    ]);
    Ok(Spec {
        domid: plan.domid,
        uuid: plan.uuid,
        name: plan.name.clone(),
        directory,
        mounts,
        programs: config.program(IN_QUBES),
        program_names: program_names(),
        services: services(config),
        // Those of vm::RPC_CONFIG wait for a graphical session, of which these qubes have none.
        rpc_config: Vec::new(),
        environment,
        command: vec![AGENT_INSIDE.to_owned()],
        isolation: config.isolation,
        pausing: Pausing::Auto,
        user: plan.user_name().ok_or_else(|| Failure("its default_user is no user name".into()))?,
    })
}

/// Ends a domain; that it is gone already is a success.
pub(super) fn destroy(dom0: &Dom0, domid: DomId) -> Result<(), HypervisorError> {
    let destroyed = match &dom0.xen {
        Some(domains) => domains.destroy(domid),
        None => dom0.local.destroy(domid),
    };
    match destroyed {
        Err(HypervisorError::NoSuchDomain(_)) => Ok(()),
        other => other,
    }
}

pub(super) fn pause(dom0: &Dom0, domid: DomId) -> Result<(), HypervisorError> {
    hypervisor(dom0).pause(domid)
}

pub(super) fn unpause(dom0: &Dom0, domid: DomId) -> Result<(), HypervisorError> {
    hypervisor(dom0).unpause(domid)
}

pub(super) fn info(dom0: &Dom0, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
    hypervisor(dom0).info(domid)
}

fn hypervisor(dom0: &Dom0) -> &dyn Hypervisor {
    dom0.xen.as_ref().map_or(&dom0.local, |domains| domains.machine())
}

/// Destroys what an earlier host left in the registry.
///
/// # Errors
/// What could not be destroyed, in words.
pub(crate) fn sweep(local: &Local) -> Result<(), String> {
    let mut failures = Vec::new();
    for swept in local.sweep() {
        let name = swept.name.map_or_else(|| format!("domain {}", swept.domid), |name| name.to_string());
        match swept.result {
            Ok(()) => log::info!("{name} was left by an earlier host and was destroyed"),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}
