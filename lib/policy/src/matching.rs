//! Whether a rule is about a call (spec/policy.md, section 5).

use crate::call::{Checked, Requested};
use crate::reason::DenyReason;
use crate::rule::Rule;
use crate::system::SystemInfo;
use crate::token::{Token, is_dom0};

/// Service, argument and source; the target is left out because `ask` collects candidates over all targets.
pub(crate) fn matches_all_but_target(rule: &Rule, checked: &Checked<'_>, system: &SystemInfo) -> bool {
    matches_service(rule, checked)
        && matches_argument(rule, checked)
        && source_matches(&rule.source, checked.source, system)
}

pub(crate) fn matches_service(rule: &Rule, checked: &Checked<'_>) -> bool {
    rule.service.as_deref().is_none_or(|service| service == checked.call.service)
}

pub(crate) fn matches_argument(rule: &Rule, checked: &Checked<'_>) -> bool {
    rule.argument.as_deref().is_none_or(|argument| argument == checked.call.argument)
}

pub(crate) fn source_matches(token: &Token, source: &str, system: &SystemInfo) -> bool {
    match token {
        Token::Any => true,
        Token::AnyVm => !is_dom0(source),
        Token::AdminVm => is_dom0(source),
        Token::Qube(text) => qube_matches(text, source, system),
        Token::Type(class) => system.get(source).is_some_and(|info| info.class == *class),
        Token::Tag(tag) => system.get(source).is_some_and(|info| info.has_tag(tag)),
        // Legal here, but no qube is ever called so.
        Token::DispvmOf(_) | Token::DispvmTag(_) | Token::Dispvm | Token::Default => false,
    }
}

/// The TARGET column against the checked target.
///
/// # Errors
/// Where the reference implementation raises an exception because a name leads nowhere.
pub(crate) fn target_matches(
    token: &Token,
    checked: &Checked<'_>,
    system: &SystemInfo,
) -> Result<bool, DenyReason> {
    let requested = &checked.requested;
    Ok(match (token, requested) {
        (Token::Any, _) => true,
        (Token::AnyVm, _) => !requested.is_dom0(),
        (Token::AdminVm, _) => requested.is_dom0(),
        (Token::Default, _) => *requested == Requested::Default,
        (Token::Dispvm, _) => *requested == Requested::Dispvm,
        (Token::Qube(text), Requested::AdminVm) => is_dom0(text),
        (Token::Qube(text), Requested::Qube(qube)) => qube_matches(text, qube, system),
        (Token::Type(class), Requested::Qube(qube)) => {
            system.get(qube).is_some_and(|info| info.class == *class)
        }
        (Token::Tag(tag), Requested::Qube(qube)) => system.get(qube).is_some_and(|info| info.has_tag(tag)),
        (Token::DispvmOf(base), Requested::DispvmOf(asked)) => same_qube(base, asked, system),
        (Token::DispvmOf(base), Requested::Dispvm) => {
            // Compared as text: a rule that names its template by uuid does not match here.
            let default = default_dispvm(checked.source, system);
            base == default.ok_or_else(|| DenyReason::NothingToCompare(checked.source.to_owned()))?
        }
        (Token::DispvmTag(tag), Requested::DispvmOf(asked)) => tagged_template(tag, asked, system)?,
        (Token::DispvmTag(tag), Requested::Dispvm) => match default_dispvm(checked.source, system) {
            Some(default) => tagged_template(tag, default, system)?,
            None => false,
        },
        (Token::DispvmTag(tag), Requested::DispvmTag(asked)) => tag == asked,
        _ => false,
    })
}

/// The template of the disposables of a qube, if the qube is known and has one.
pub(crate) fn default_dispvm<'s>(source: &str, system: &'s SystemInfo) -> Option<&'s str> {
    system.get(source)?.default_dispvm.as_deref()
}

fn tagged_template(tag: &str, template: &str, system: &SystemInfo) -> Result<bool, DenyReason> {
    let info = system.get(template).ok_or_else(|| DenyReason::NoSuchQube(template.to_owned()))?;
    Ok(info.template_for_dispvms && info.has_tag(tag))
}

fn qube_matches(token: &str, qube: &str, system: &SystemInfo) -> bool {
    if is_dom0(token) { is_dom0(qube) } else { same_qube(token, qube, system) }
}

/// Whether two texts, each a name or `uuid:UUID`, mean the same qube.
fn same_qube(one: &str, other: &str, system: &SystemInfo) -> bool {
    let is_uuid_of = |uuid: &str, name: &str| {
        system.get(name).and_then(|info| info.uuid).is_some_and(|found| uuid.parse() == Ok(found))
    };
    match (one.strip_prefix("uuid:"), other.strip_prefix("uuid:")) {
        (Some(uuid), None) => is_uuid_of(uuid, other),
        (None, Some(uuid)) => is_uuid_of(uuid, one),
        _ => one == other,
    }
}
