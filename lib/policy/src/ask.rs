//! The question to the user (spec/policy.md, section 7).

use crate::call::{Call, Checked, Requested};
use crate::decision::{Allow, Decision, Deny};
use crate::grant::{grant, runs};
use crate::matching::{default_dispvm, matches_all_but_target};
use crate::reason::DenyReason;
use crate::rule::{Action, Rule, RuleOrigin};
use crate::system::SystemInfo;
use crate::token::Token;
use std::collections::BTreeSet;

/// A call that the user must decide. How the question is put: spec/qrexec-wire.md 9.5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The choices, sorted: names, `@dispvm:NAME`, `dom0`, or the redirect of the rule as it is written.
    pub targets: Vec<String>,
    /// The choice to offer first; always one of `targets`.
    pub default_target: Option<String>,
    /// The user to run as; `None` for the default.
    pub user: Option<String>,
    /// Whether a target may be started.
    pub autostart: bool,
    /// Whether the user is told of a denial or of success.
    pub notify: bool,
    /// The rule that says so.
    pub rule: RuleOrigin,
    /// Who calls (the requested source, where there is one); its guivm is asked.
    pub source: String,
    /// The service without argument.
    pub service: String,
    /// The argument with its leading `+`.
    pub argument: String,
    requested: Requested,
    relayed: bool,
}

impl Ask {
    /// The user said yes and chose a target.
    #[must_use]
    pub fn answer(&self, choice: &str, system: &SystemInfo) -> Decision {
        if !self.targets.iter().any(|target| target == choice) {
            return self.deny(DenyReason::NotAChoice(choice.to_owned()), true);
        }
        let call = Call {
            source: &self.source,
            requested_source: None,
            service: &self.service,
            argument: &self.argument,
            target: choice,
        };
        let requested = self.requested.clone();
        let checked = Checked { call, source: &self.source, relayed: self.relayed, requested };
        match grant(&checked, choice, self.user.as_deref(), self.autostart, system) {
            Ok(grant) => Allow { grant, notify: self.notify, rule: self.rule.clone() }.into(),
            Err(reason) => {
                let notify = reason.notify();
                self.deny(reason, notify)
            }
        }
    }

    /// The user said no.
    #[must_use]
    pub fn refuse(&self) -> Decision {
        self.deny(DenyReason::ByUser, self.notify)
    }

    /// The user could not be asked.
    #[must_use]
    pub fn refuse_because(&self, reason: DenyReason) -> Decision {
        self.deny(reason, self.notify)
    }

    /// What asks the user gave an answer that is none.
    #[must_use]
    pub fn invalid_answer(&self) -> Decision {
        self.deny(DenyReason::InvalidAnswer, true)
    }

    /// The answer of somebody who agrees to exactly what was requested (`assume_yes_for_ask`).
    #[must_use]
    pub fn assume_yes(&self, system: &SystemInfo) -> Decision {
        self.answer(&self.requested.to_string(), system)
    }

    /// The checked target that the caller asked for.
    #[must_use]
    pub fn requested_target(&self) -> String {
        self.requested.to_string()
    }

    fn deny(&self, reason: DenyReason, notify: bool) -> Decision {
        Deny { reason, notify, rule: Some(self.rule.clone()) }.into()
    }
}

/// What to ask because of `rule`, whose action is `ask`.
pub(crate) fn question(
    rules: &[Rule],
    rule: &Rule,
    checked: &Checked<'_>,
    system: &SystemInfo,
) -> Result<Ask, DenyReason> {
    let Action::Ask { target, default_target, user, notify, autostart } = &rule.action else {
        return Err(DenyReason::NothingToChoose);
    };
    let mut targets = match target {
        Some(token) if token.is_dom0() => vec!["dom0".to_owned()],
        Some(token) => vec![token.to_string()],
        None => candidates(rules, checked, system)?.into_iter().collect(),
    };
    if !autostart {
        let mut running = Vec::new();
        for target in targets {
            if runs(&target, system)? {
                running.push(target);
            }
        }
        targets = running;
    }
    if targets.is_empty() {
        return Err(DenyReason::NothingToChoose);
    }
    let default_target = match default_target {
        Some(Token::Dispvm) => default_dispvm(checked.source, system).map(|base| format!("@dispvm:{base}")),
        Some(token) if token.is_dom0() => Some("dom0".to_owned()),
        Some(token) => Some(token.to_string()),
        None => None,
    };
    if let Some(target) = default_target.as_ref().filter(|target| !targets.contains(target)) {
        log::warn!("{}: default_target={target} is not among the choices, left out", rule.origin);
    }
    Ok(Ask {
        default_target: default_target.filter(|target| targets.contains(target)),
        targets,
        user: user.clone(),
        autostart: *autostart,
        notify: *notify,
        rule: rule.origin.clone(),
        source: checked.source.to_owned(),
        service: checked.call.service.to_owned(),
        argument: checked.call.argument.to_owned(),
        requested: checked.requested.clone(),
        relayed: checked.relayed,
    })
}

/// All that any rule offers this caller for this service. Read from the last rule to the first, so that a rule takes
/// back only what rules after it have offered.
fn candidates(
    rules: &[Rule],
    checked: &Checked<'_>,
    system: &SystemInfo,
) -> Result<BTreeSet<String>, DenyReason> {
    let source =
        system.get(checked.source).ok_or_else(|| DenyReason::NoSuchQube(checked.source.to_owned()))?;
    let uuid = source.uuid.ok_or_else(|| DenyReason::NoUuid(checked.source.to_owned()))?;
    let mut found = BTreeSet::new();
    for rule in rules.iter().rev().filter(|rule| matches_all_but_target(rule, checked, system)) {
        for name in expand(rule.action.redirect().unwrap_or(&rule.target), system)? {
            if matches!(rule.action, Action::Deny { .. }) {
                found.remove(&name);
            } else {
                found.insert(name);
            }
        }
    }
    if found.remove("@dispvm") {
        found.extend(default_dispvm(checked.source, system).map(|base| format!("@dispvm:{base}")));
    }
    if found.remove("@adminvm") {
        found.insert("dom0".to_owned());
    }
    found.remove(&source.name);
    found.remove(&format!("uuid:{uuid}"));
    let mut shown = BTreeSet::new();
    for target in found {
        let name = target.strip_prefix("@dispvm:").unwrap_or(&target);
        let info = system.get(name).ok_or_else(|| DenyReason::NoSuchQube(name.to_owned()))?;
        if !info.is_internal() {
            shown.insert(target);
        }
    }
    Ok(shown)
}

/// The targets that a token stands for, as the user may choose them.
fn expand(token: &Token, system: &SystemInfo) -> Result<Vec<String>, DenyReason> {
    let every = |keep: &dyn Fn(&crate::QubeInfo) -> bool| {
        system.qubes().filter(|info| keep(info)).map(|info| info.name.clone()).collect::<Vec<_>>()
    };
    let disposables = |tag: Option<&str>| {
        let is_ours = move |info: &&crate::QubeInfo| {
            info.template_for_dispvms && tag.is_none_or(|tag| info.has_tag(tag))
        };
        system.qubes().filter(is_ours).map(|info| format!("@dispvm:{}", info.name)).collect::<Vec<_>>()
    };
    Ok(match token {
        Token::Default => Vec::new(),
        Token::Dispvm => vec!["@dispvm".to_owned()],
        // Kept apart from "dom0" until the end: a rule that denies one does not take back the other.
        Token::AdminVm => vec!["@adminvm".to_owned()],
        Token::Qube(text) => system.get(text).map(|info| info.name.clone()).into_iter().collect(),
        Token::Type(class) => every(&|info| info.class == *class),
        Token::Tag(tag) => every(&|info| info.has_tag(tag)),
        Token::Any | Token::AnyVm => {
            let mut all = every(&|info| *token == Token::Any || info.name != "dom0");
            all.extend(disposables(None));
            all.push("@dispvm".to_owned());
            all
        }
        Token::DispvmTag(tag) => disposables(Some(tag)),
        Token::DispvmOf(base) => {
            let info = system.get(base).ok_or_else(|| DenyReason::NoSuchQube(base.clone()))?;
            if info.template_for_dispvms { vec![format!("@dispvm:{}", info.name)] } else { Vec::new() }
        }
    })
}
