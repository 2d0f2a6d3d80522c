//! The rules as a whole, and the search for the one that decides.

use crate::ask;
use crate::call::{Call, Checked, Options, Requested};
use crate::decision::{Allow, Decision, Deny};
use crate::directories::Directories;
use crate::error::LoadError;
use crate::grant::{grant, settle};
use crate::load::{LEGACY_DIRECTORY, load};
use crate::matching::{matches_all_but_target, target_matches};
use crate::reason::DenyReason;
use crate::rule::{Action, Rule};
use crate::source::PolicySource;
use crate::system::SystemInfo;
use std::path::Path;

/// A loaded policy: all rules in reading order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Reads the policy of real directories, highest rank first (on Qubes OS: `/run/qubes/policy.d`, then
    /// `/etc/qubes/policy.d`).
    ///
    /// # Errors
    /// The first trouble found, with its place. Any trouble fails the whole policy, a missing directory too.
    pub fn load<P: AsRef<Path>>(directories: &[P]) -> Result<Self, LoadError> {
        Self::from_source(&mut Directories::new(), directories, Path::new(LEGACY_DIRECTORY))
    }

    /// Reads a policy from any source. `legacy` is the directory of Qubes 4.0 that `!compat-4.0` speaks of.
    ///
    /// # Errors
    /// As [`Policy::load`].
    pub fn from_source<P: AsRef<Path>>(
        source: &mut dyn PolicySource,
        directories: &[P],
        legacy: &Path,
    ) -> Result<Self, LoadError> {
        let directories: Vec<&Path> = directories.iter().map(AsRef::as_ref).collect();
        load(source, &directories, legacy).map(|rules| Self { rules })
    }

    /// The rules in the order in which they are tried.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides one call (spec/policy.md, sections 4 to 7). The first rule that matches decides; no rule: denied.
    #[must_use]
    pub fn evaluate(&self, call: &Call<'_>, system: &SystemInfo, options: Options) -> Decision {
        let checked = match Checked::new(call, system, options) {
            Ok(checked) => checked,
            Err(reason) => return Deny::without_rule(reason).into(),
        };
        for rule in &self.rules {
            if !matches_all_but_target(rule, &checked, system) {
                continue;
            }
            match target_matches(&rule.target, &checked, system) {
                Ok(false) => {}
                Ok(true) => return self.decide(rule, &checked, system),
                Err(reason) => return Deny::by_rule(reason, rule).into(),
            }
        }
        Deny::without_rule(DenyReason::NoMatchingRule).into()
    }

    fn decide(&self, rule: &Rule, checked: &Checked<'_>, system: &SystemInfo) -> Decision {
        // A tag instead of a template's name is for our provider in dom0 alone to resolve.
        if let (Requested::DispvmTag(tag), false) =
            (&checked.requested, matches!(rule.action, Action::Deny { .. }))
        {
            if !rule.action.redirect().is_some_and(|target| target.is_dom0()) {
                return Deny::by_rule(DenyReason::TagNeedsAdminVm(checked.requested.to_string()), rule)
                    .into();
            }
            let is_asked = matches!(rule.action, Action::Ask { .. });
            if let Err(reason) = self.recheck_tag(tag, is_asked, checked, system) {
                return Deny::by_rule(reason, rule).into();
            }
        }
        match &rule.action {
            Action::Deny { notify } => {
                Deny { notify: *notify, ..Deny::by_rule(DenyReason::ByRule, rule) }.into()
            }
            Action::Allow { target, user, notify, autostart } => {
                let granted = settle(target.as_ref(), checked, *autostart, system)
                    .and_then(|target| grant(checked, &target, user.as_deref(), *autostart, system));
                match granted {
                    Ok(grant) => Allow { grant, notify: *notify, rule: rule.origin.clone() }.into(),
                    Err(reason @ DenyReason::RequiresAutostart(_)) => {
                        Deny { notify: *notify, ..Deny::by_rule(reason, rule) }.into()
                    }
                    Err(reason) => Deny::by_rule(reason, rule).into(),
                }
            }
            Action::Ask { .. } => match ask::question(&self.rules, rule, checked, system) {
                Ok(ask) => Decision::Ask(ask),
                Err(reason) => Deny::by_rule(reason, rule).into(),
            },
        }
    }
}
