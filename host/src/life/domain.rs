//! A qube's domain: the one place that talks to the hypervisor.

use super::start::{Failure, Plan};
use crate::dom0::Dom0;
use hypervisor::local::{Created, Isolation, Local, Mount, Pausing, Spec};
use hypervisor::{DomainInfo, Hypervisor, HypervisorError};
use names::DomId;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

const VCHAN_INSIDE: &str = "/run/vchan";
const AGENT_INSIDE: &str = "/run/qubes/bin/qrexec-agent";
/// The qube that the user's own files are shared with.
const WORK: &str = "work";

/// Creates the domain of a qube and watches for its end. Returns how it is kept apart.
pub(super) fn create(dom0: &Arc<Dom0>, plan: &Plan, directory: PathBuf) -> Result<Isolation, Failure> {
    let spec = spec(dom0, plan, directory)?;
    let created = dom0
        .local
        .create(&spec, &dom0.config.executable)
        .map_err(|error| Failure(format!("its domain cannot be created: {error}")))?;
    let Created { isolation, refusal, mut supervisor, .. } = created;
    if let Some(refusal) = refusal {
        log::warn!("{} is not kept apart from this machine: {refusal}", plan.name);
    }
    let (watcher, name, domid) = (dom0.clone(), plan.name.clone(), plan.domid);
    let watch = move || {
        match supervisor.wait() {
            Ok(status) => log::debug!("the domain of {name} ended: {status}"),
            Err(error) => log::error!("waiting for the end of {name}: {error}"),
        }
        watcher.domain_ended(&name, domid);
    };
    // On failure the closure is dropped, the supervisor's lifeline with it, and the domain ends.
    thread::Builder::new()
        .name("domain".into())
        .spawn(watch)
        .map(drop)
        .map_err(|error| Failure(format!("no thread to watch over it: {error}")))?;
    Ok(isolation)
}

fn spec(dom0: &Dom0, plan: &Plan, directory: PathBuf) -> Result<Spec, Failure> {
    let config = &dom0.config;
    let texts = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let mut mounts =
        vec![Mount { source: dom0.layout().vchan(), target: VCHAN_INSIDE.into(), writable: true }];
    if plan.name.as_str() == WORK {
        mounts.extend(config.work_mounts.iter().cloned());
    }
    let mut services = texts(vm::SERVICES);
    for (service, program) in &config.services {
        services.retain(|(known, _)| known != service);
        services.push((service.clone(), program.clone()));
    }
    let mut program_names: Vec<String> = vm::PROGRAMS.iter().map(|name| (*name).to_owned()).collect();
    program_names.extend(crate::programs::EXTRA.iter().map(|name| (*name).to_owned()));
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
        programs: config.program("usr/lib/qubes-dispvm/qubes-vm"),
        program_names,
        services,
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
    match dom0.local.destroy(domid) {
        Err(HypervisorError::NoSuchDomain(_)) => Ok(()),
        other => other,
    }
}

pub(super) fn pause(dom0: &Dom0, domid: DomId) -> Result<(), HypervisorError> {
    dom0.local.pause(domid)
}

pub(super) fn unpause(dom0: &Dom0, domid: DomId) -> Result<(), HypervisorError> {
    dom0.local.unpause(domid)
}

pub(super) fn info(dom0: &Dom0, domid: DomId) -> Result<Option<DomainInfo>, HypervisorError> {
    dom0.local.info(domid)
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
