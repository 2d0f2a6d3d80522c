//! Why a call is denied.

use crate::error::LoadError;
use names::printable;
use std::fmt;
use std::sync::Arc;

/// Why a call is denied. Texts come from the request or the system; Display sanitises them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyReason {
    /// A `deny` rule.
    ByRule,
    /// No rule is about this call.
    NoMatchingRule,
    /// The policy files are broken; nothing is allowed until they are good again.
    PolicyBroken(Arc<LoadError>),
    /// The requested target is no target at all.
    NotATarget(String),
    /// `@dispvm:X` where X does not exist or is no disposable template.
    NotATemplate(String),
    /// The call is allowed, but neither caller nor rule names an existing target.
    NoTarget,
    /// A disposable is allowed, but the source has no default_dispvm.
    NoDefaultDispvm,
    /// The target would have to be started, which the rule forbids.
    RequiresAutostart(String),
    /// The qube would call itself.
    Loopback,
    /// A remote qube without relay.
    RelayNotSet(String),
    /// A remote qube without transport service.
    TransportNotSet(String),
    /// The user would be asked, but there is nothing to choose from.
    NothingToChoose,
    /// The user said no.
    ByUser,
    /// The user would be asked, but cannot be; with the reason.
    NobodyToAsk(String),
    /// The user's choice was not offered.
    NotAChoice(String),
    /// What asks the user gave an answer that is none.
    InvalidAnswer,
    /// A requested source that does not exist.
    UnknownRequestedSource(String),
    /// A requested source that is no RemoteVM.
    RequestedSourceNotRemote(String),
    /// A requested source whose calls another qube relays.
    NotItsRelay {
        /// The qube that calls.
        relay: String,
        /// For whom it claims to call.
        remote: String,
    },
    /// A rule for `@dispvm:NAME` met a request for `@dispvm` of a source without default_dispvm. The reference
    /// implementation fails here; the call is refused there too.
    NothingToCompare(String),
    /// A rule, a default_dispvm, a relay or a choice names a qube that does not exist.
    NoSuchQube(String),
    /// The system information lacks the UUID of a qube.
    NoUuid(String),
    /// The answer could not be written: a text with other than printable ASCII characters, or longer than 4095 bytes.
    Unwritable,
    /// A target by tag that no rule sends to dom0 ([`crate::Options::accept_tag_targets`]).
    TagNeedsAdminVm(String),
    /// A target by tag may mean a template that the same call may not reach by its name.
    TagMeansMore {
        /// The target.
        tag: String,
        /// The template.
        template: String,
    },
}

impl DenyReason {
    /// Whether the user is told, where the rule does not say (spec/policy.md, section 9): not of syntax errors and not of
    /// what makes the reference implementation fail.
    pub(crate) fn notify(&self) -> bool {
        match self {
            Self::PolicyBroken(error) => error.notify(),
            Self::NotATarget(_)
            | Self::NothingToCompare(_)
            | Self::NoSuchQube(_)
            | Self::NoUuid(_)
            | Self::Unwritable => false,
            _ => true,
        }
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| format!("\"{}\"", printable(text.as_bytes()));
        match self {
            Self::ByRule => f.write_str("denied by a rule"),
            Self::NoMatchingRule => f.write_str("no rule allows it"),
            Self::PolicyBroken(error) => write!(f, "the policy is broken, nothing is allowed: {error}"),
            Self::NotATarget(text) => write!(f, "{} is no target", shown(text)),
            Self::NotATemplate(name) => write!(
                f,
                "{} is no disposable template (it does not exist, or its property template_for_dispvms is not set)",
                shown(name)
            ),
            Self::NoTarget => {
                f.write_str("allowed, but neither the caller nor the rule names an existing target")
            }
            Self::NoDefaultDispvm => {
                f.write_str("a disposable is allowed, but the calling qube has no default_dispvm")
            }
            Self::RequiresAutostart(name) => {
                write!(f, "{} would have to be started, and the rule says autostart=no", shown(name))
            }
            Self::Loopback => f.write_str("a qube cannot call itself"),
            Self::RelayNotSet(name) => write!(f, "the remote qube {} has no relayvm", shown(name)),
            Self::TransportNotSet(name) => write!(f, "the remote qube {} has no transport_rpc", shown(name)),
            Self::NothingToChoose => f.write_str("the user would be asked, but there is no target to choose"),
            Self::ByUser => f.write_str("the user did not agree"),
            Self::NobodyToAsk(reason) => {
                write!(f, "the user would be asked, but nobody can be: {}", printable(reason.as_bytes()))
            }
            Self::NotAChoice(name) => write!(f, "{} was not offered as a target", shown(name)),
            Self::InvalidAnswer => f.write_str("the question to the user got an invalid answer"),
            Self::UnknownRequestedSource(name) => {
                write!(f, "the requested source {} does not exist", shown(name))
            }
            Self::RequestedSourceNotRemote(name) => {
                write!(f, "the requested source {} is no RemoteVM", shown(name))
            }
            Self::NotItsRelay { relay, remote } => {
                write!(f, "{} does not relay for {}", shown(relay), shown(remote))
            }
            Self::NothingToCompare(name) => write!(
                f,
                "the rule is about disposables of one template, and {} has no default_dispvm to compare",
                shown(name)
            ),
            Self::NoSuchQube(name) => {
                write!(f, "the policy or the system names {}, which does not exist", shown(name))
            }
            Self::NoUuid(name) => write!(f, "the UUID of {} is not known", shown(name)),
            Self::Unwritable => {
                f.write_str("the answer has characters other than printable ASCII, or is too long")
            }
            Self::TagMeansMore { tag, template } => write!(
                f,
                "{} may mean a disposable of {}, and the policy does not allow @dispvm:{} as well",
                shown(tag),
                shown(template),
                printable(template.as_bytes())
            ),
            Self::TagNeedsAdminVm(target) => {
                write!(f, "{} is allowed only by a rule with target=@adminvm", shown(target))
            }
        }
    }
}
