//! The call that is to be decided, and what becomes of it before any rule is looked at (spec/policy.md, section 4).

use crate::reason::DenyReason;
use crate::system::SystemInfo;
use crate::token::is_dom0;
use names::{Tag, printable};
use std::fmt;

/// A call as the source's qrexec daemon describes it. The texts are untrusted but for `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The calling qube.
    pub source: &'a str,
    /// For whom a relay calls; empty is the same as none.
    pub requested_source: Option<&'a str>,
    /// The service without argument.
    pub service: &'a str,
    /// The argument with its leading `+`; `+` alone when there is none.
    pub argument: &'a str,
    /// The target as the caller wrote it; may be empty.
    pub target: &'a str,
}

impl<'a> Call<'a> {
    /// A call of a service with argument, split at the first `+`, for the source itself.
    #[must_use]
    pub fn new(source: &'a str, service_and_argument: &'a str, target: &'a str) -> Self {
        let (service, argument) = match service_and_argument.find('+') {
            Some(index) => service_and_argument.split_at(index),
            None => (service_and_argument, "+"),
        };
        Self { source, requested_source: None, service, argument, target }
    }
}

/// What an administrator of the machine that evaluates may switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Take `@dispvm:@tag:T` as a target that a caller may name. Off in stock policy, where it is a syntax error
    /// (users.md D2). It is matched by the same text in the target column, by `@anyvm` and by `*`, and only a rule that
    /// redirects to dom0 may allow it: the provider there turns the tag into one template (promise P8). Every template
    /// that it may turn it into must be allowed by its name as well, so that a tag leads nowhere where a name does not.
    pub accept_tag_targets: bool,
}

/// A call whose target and source have been checked against the system.
#[derive(Debug, Clone)]
pub(crate) struct Checked<'a> {
    pub(crate) call: Call<'a>,
    /// Who calls, after a requested source has taken the relay's place.
    pub(crate) source: &'a str,
    /// Whether it has.
    pub(crate) relayed: bool,
    pub(crate) requested: Requested,
}

/// The checked target of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Requested {
    Default,
    AdminVm,
    Dispvm,
    DispvmOf(String),
    DispvmTag(String),
    /// The name or `uuid:UUID` of a qube that exists.
    Qube(String),
}

impl<'a> Checked<'a> {
    pub(crate) fn new(call: &Call<'a>, system: &SystemInfo, options: Options) -> Result<Self, DenyReason> {
        let requested = match call.target.strip_prefix("@dispvm:@tag:") {
            Some(tag) if options.accept_tag_targets => {
                let tag: Tag = tag.parse().map_err(|_| DenyReason::NotATarget(call.target.to_owned()))?;
                Requested::DispvmTag(tag.as_str().to_owned())
            }
            _ => Requested::check(call.target, system)?,
        };
        let relayed = call.requested_source.is_some_and(|name| !name.is_empty());
        let source = call.requested_source.filter(|_| relayed).unwrap_or(call.source);
        if relayed {
            let info =
                system.get(source).ok_or_else(|| DenyReason::UnknownRequestedSource(source.to_owned()))?;
            if info.class != "RemoteVM" {
                return Err(DenyReason::RequestedSourceNotRemote(source.to_owned()));
            }
            if info.relayvm.as_deref() != Some(call.source) {
                return Err(DenyReason::NotItsRelay {
                    relay: call.source.to_owned(),
                    remote: source.to_owned(),
                });
            }
        }
        Ok(Self { call: *call, source, relayed, requested })
    }
}

impl Requested {
    /// Checks the target of a request or of a redirect.
    pub(crate) fn check(text: &str, system: &SystemInfo) -> Result<Self, DenyReason> {
        match text {
            "" | "@default" => return Ok(Self::Default),
            "@adminvm" => return Ok(Self::AdminVm),
            "@dispvm" => return Ok(Self::Dispvm),
            _ => {}
        }
        let not_a_target = || DenyReason::NotATarget(text.to_owned());
        if let Some(base) = text.strip_prefix("@dispvm:") {
            if base.is_empty() || base.starts_with('@') {
                return Err(not_a_target());
            }
            if !system.get(base).is_some_and(|info| info.template_for_dispvms) {
                return Err(DenyReason::NotATemplate(base.to_owned()));
            }
            return Ok(Self::DispvmOf(base.to_owned()));
        }
        if text.starts_with('@') || text == "*" {
            return Err(not_a_target());
        }
        if system.get(text).is_none() {
            log::warn!("target {:?} does not exist, taken as @default", printable(text.as_bytes()));
            return Ok(Self::Default);
        }
        Ok(Self::Qube(text.to_owned()))
    }

    pub(crate) fn is_dom0(&self) -> bool {
        match self {
            Self::AdminVm => true,
            Self::Qube(text) => is_dom0(text),
            _ => false,
        }
    }
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("@default"),
            Self::AdminVm => f.write_str("@adminvm"),
            Self::Dispvm => f.write_str("@dispvm"),
            Self::DispvmOf(base) => write!(f, "@dispvm:{base}"),
            Self::DispvmTag(tag) => write!(f, "@dispvm:@tag:{tag}"),
            Self::Qube(text) => f.write_str(text),
        }
    }
}
