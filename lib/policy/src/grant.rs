//! From a rule that allows to the answer (spec/policy.md, section 6).

use crate::call::{Checked, Requested};
use crate::matching::default_dispvm;
use crate::protocol::{Grant, REPLY_LIMIT};
use crate::reason::DenyReason;
use crate::system::SystemInfo;
use crate::token::{Token, is_dom0};

/// The target of an `allow` rule as text, disposables with their template filled in.
pub(crate) fn settle(
    redirect: Option<&Token>,
    checked: &Checked<'_>,
    autostart: bool,
    system: &SystemInfo,
) -> Result<String, DenyReason> {
    let redirected;
    let target = match redirect {
        Some(token) => {
            redirected = Requested::check(&token.to_string(), system)?;
            &redirected
        }
        None => &checked.requested,
    };
    let target = match target {
        Requested::Default => return Err(DenyReason::NoTarget),
        Requested::AdminVm => "dom0".to_owned(),
        Requested::Dispvm => {
            format!("@dispvm:{}", default_dispvm(checked.source, system).ok_or(DenyReason::NoDefaultDispvm)?)
        }
        other => other.to_string(),
    };
    if !autostart && !runs(&target, system)? {
        return Err(DenyReason::RequiresAutostart(target));
    }
    Ok(target)
}

/// Whether a call to this target starts nothing.
pub(crate) fn runs(target: &str, system: &SystemInfo) -> Result<bool, DenyReason> {
    if is_dom0(target) {
        return Ok(true);
    }
    if target.starts_with("@dispvm") {
        return Ok(false);
    }
    let info = system.get(target).ok_or_else(|| DenyReason::NoSuchQube(target.to_owned()))?;
    Ok(info.power_state == "Running")
}

/// The answer that lets a call through to `target`, which a rule or the user has chosen.
pub(crate) fn grant(
    checked: &Checked<'_>,
    target: &str,
    user: Option<&str>,
    autostart: bool,
    system: &SystemInfo,
) -> Result<Grant, DenyReason> {
    if checked.source == target {
        return Err(DenyReason::Loopback);
    }
    let mut grant = Grant {
        user: user.unwrap_or("DEFAULT").to_owned(),
        target: "dom0".to_owned(),
        target_uuid: None,
        autostart,
        requested_target: checked.requested.to_string(),
        service: None,
        policy_source: None,
    };
    if !is_dom0(target) {
        grant.policy_source = checked.relayed.then(|| checked.source.to_owned());
        fill_target(&mut grant, checked, target, system)?;
    }
    writable(grant)
}

fn fill_target(
    grant: &mut Grant,
    checked: &Checked<'_>,
    target: &str,
    system: &SystemInfo,
) -> Result<(), DenyReason> {
    let lookup = |name: &str| system.get(name).ok_or_else(|| DenyReason::NoSuchQube(name.to_owned()));
    let uuid = |name: &str| lookup(name)?.uuid.ok_or_else(|| DenyReason::NoUuid(name.to_owned()));
    grant.target = target.to_owned();
    if let Some(base) = target.strip_prefix("@dispvm:") {
        grant.target_uuid = Some(format!("@dispvm:uuid:{}", uuid(base)?));
        return Ok(());
    }
    let info = lookup(target)?;
    if info.class != "RemoteVM" {
        grant.target_uuid = Some(format!("uuid:{}", uuid(target)?));
        return Ok(());
    }
    let set = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let relay = set(&info.relayvm).ok_or_else(|| DenyReason::RelayNotSet(target.to_owned()))?;
    let transport = set(&info.transport_rpc).ok_or_else(|| DenyReason::TransportNotSet(target.to_owned()))?;
    let (service, argument) = (checked.call.service, checked.call.argument);
    grant.user = "DEFAULT".to_owned();
    grant.target_uuid = Some(format!("uuid:{}", uuid(&relay)?));
    grant.target = relay;
    grant.service = Some(format!("{transport}+{}+{service}{argument}", checked.requested));
    Ok(())
}

/// Refuses what could not be written as lines of ASCII, or what its reader would cut off.
fn writable(grant: Grant) -> Result<Grant, DenyReason> {
    let ok = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let optional = [&grant.target_uuid, &grant.service, &grant.policy_source];
    let required = [&grant.user, &grant.target, &grant.requested_target];
    let texts = || required.into_iter().chain(optional.into_iter().flatten());
    // Keys and line ends have less than 128 bytes: an answer of usual length need not be written to be measured.
    let fits =
        texts().map(String::len).sum::<usize>() + 128 < REPLY_LIMIT || grant.to_string().len() < REPLY_LIMIT;
    if fits && texts().all(|text| ok(text)) { Ok(grant) } else { Err(DenyReason::Unwritable) }
}
