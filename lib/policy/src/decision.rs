//! What the policy says about a call.

use crate::ask::Ask;
use crate::error::LoadError;
use crate::protocol::{Grant, Reply};
use crate::reason::DenyReason;
use crate::rule::{Rule, RuleOrigin};
use std::sync::Arc;

/// The outcome of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Let it through.
    Allow(Allow),
    /// Ask the user, then use [`Ask::answer`] or [`Ask::refuse`].
    Ask(Ask),
    /// Refuse it.
    Deny(Deny),
}

/// A call that is let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// What the qrexec daemon is told.
    pub grant: Grant,
    /// Whether the user is told.
    pub notify: bool,
    /// The rule that allowed it.
    pub rule: RuleOrigin,
}

/// A call that is refused. The reason is for dom0's log only; the caller learns just that it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    /// Why.
    pub reason: DenyReason,
    /// Whether the user is told (spec/policy.md, section 9).
    pub notify: bool,
    /// The rule that decided, if it came so far.
    pub rule: Option<RuleOrigin>,
}

impl Decision {
    /// The reply of the policy daemon. A question that is still open is a denial.
    #[must_use]
    pub fn reply(&self) -> Reply {
        match self {
            Self::Allow(allow) => Reply::Allow(allow.grant.clone()),
            Self::Ask(_) | Self::Deny(_) => Reply::Deny,
        }
    }

    /// What becomes of every call while the policy files cannot be loaded.
    #[must_use]
    pub fn broken(error: LoadError) -> Self {
        Deny::without_rule(DenyReason::PolicyBroken(Arc::new(error))).into()
    }

    /// The rule that decided, if one did.
    #[must_use]
    pub fn rule(&self) -> Option<&RuleOrigin> {
        match self {
            Self::Allow(allow) => Some(&allow.rule),
            Self::Ask(ask) => Some(&ask.rule),
            Self::Deny(deny) => deny.rule.as_ref(),
        }
    }

    /// Whether the call is let through without a question.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

impl Allow {
    /// The reply as text, without a newline at its end (spec/qrexec-wire.md 9.1).
    #[must_use]
    pub fn to_reply(&self) -> String {
        self.grant.to_string()
    }
}

impl Deny {
    pub(crate) fn without_rule(reason: DenyReason) -> Self {
        Self { notify: reason.notify(), reason, rule: None }
    }

    pub(crate) fn by_rule(reason: DenyReason, rule: &Rule) -> Self {
        Self { notify: reason.notify(), reason, rule: Some(rule.origin.clone()) }
    }
}

impl std::fmt::Display for Deny {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)?;
        match &self.rule {
            Some(rule) => write!(f, " ({rule})"),
            None => Ok(()),
        }
    }
}

impl From<Allow> for Decision {
    fn from(allow: Allow) -> Self {
        Self::Allow(allow)
    }
}

impl From<Deny> for Decision {
    fn from(deny: Deny) -> Self {
        Self::Deny(deny)
    }
}
