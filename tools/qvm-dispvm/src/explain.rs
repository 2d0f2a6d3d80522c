//! `policy explain`: why a call is decided as it is, and what comes of it. Pure.

use crate::Outcome;
use crate::eval::{ALLOWED, ASKED, DENIED};
use crate::options::Question;
use disposable::config::Config;
use disposable::request::Request;
use disposable::resolve;
use names::{QubeName, Target, printable};
use policy::{
    Allow, Ask, Call, Decision, Deny, DenyReason, LoadError, MissedColumn, NearMiss, Policy, SystemInfo,
};
use std::path::PathBuf;

/// What is asked, and what is known.
pub(crate) struct Asked<'a> {
    pub(crate) question: &'a Question,
    pub(crate) system: &'a SystemInfo,
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) config: &'a Config,
}

/// Whether a disposable of a template could be handed out at once.
pub(crate) enum Readiness {
    /// Nobody keeps the queue, so nothing in it is trusted.
    NoKeeper,
    Waiting {
        ready: Vec<String>,
        stale: usize,
        starting: usize,
    },
    Unknown(String),
}

/// The services of dom0 that hand out disposables.
const PROVIDERS: [&str; 2] = ["qubes.OpenInVM", "qubes.OpenURL"];

pub(crate) fn outcome(
    asked: &Asked<'_>,
    policy: &Result<Policy, LoadError>,
    readiness: impl Fn(&QubeName) -> Readiness,
) -> Outcome {
    let mut page = Page::default();
    let call = asked.question.call();
    page.line("call", format!("{}{} from {} to {}", call.service, call.argument, call.source, target(&call)));
    let directories: Vec<String> = asked.directories.iter().map(|path| path.display().to_string()).collect();
    let policy = match policy {
        Ok(policy) => policy,
        Err(error) => {
            page.line("policy", directories.join(", "));
            page.line("denied", format!("the policy is broken, nothing is allowed: {error}"));
            let remedy = match error.line {
                Some(_) => "correct that line; every call is refused until then",
                None => {
                    "see to that file or directory; every call is refused until then. Elsewhere than in Qubes OS: \
                     --policy-dir DIR, or --state DIR of a running \"qubes-host serve\""
                }
            };
            page.line("remedy", remedy);
            return page.end(DENIED);
        }
    };
    page.line("policy", format!("{}: {} rules", directories.join(", "), policy.rules().len()));
    let explained = policy.explain(&call, asked.system, asked.question.options());
    near(&mut page, asked, &explained.near);
    if let Some(rule) = explained.rule {
        page.line("decides", format!("{}  {rule}", rule.origin));
    }
    let exit = match &explained.decision {
        Decision::Allow(allow) => allowed(&mut page, asked, allow, readiness),
        Decision::Ask(ask) => {
            choices(&mut page, asked, ask);
            ASKED
        }
        Decision::Deny(deny) => {
            denied(&mut page, &call, deny);
            DENIED
        }
    };
    page.end(exit)
}

/// The last ones are nearest to the rule that decides.
fn near(page: &mut Page, asked: &Asked<'_>, near: &[NearMiss<'_>]) {
    let skipped = near.len().saturating_sub(NEAR_SHOWN);
    if skipped > 0 {
        page.line("not", format!("{skipped} earlier rules about this service"));
    }
    let call = asked.question.call();
    for miss in near.iter().skip(skipped) {
        let rule = miss.rule;
        page.line("not", format!("{}  {rule}", rule.origin));
        page.line(
            "",
            match miss.column {
                MissedColumn::Argument => {
                    format!(
                        "its argument {} is not {}",
                        rule.argument.as_deref().unwrap_or("*"),
                        call.argument
                    )
                }
                MissedColumn::Source => format!("its source {} is not {}", rule.source, call.source),
                MissedColumn::Target => {
                    format!("its target {} is not {}{}", rule.target, target(&call), hint(asked))
                }
            },
        );
    }
}

/// What `@dispvm` means for this caller, and what became of a name that does not exist.
fn hint(asked: &Asked<'_>) -> String {
    let question = asked.question;
    match question.target.as_str() {
        "@dispvm" => match asked.system.get(&question.source).and_then(|info| info.default_dispvm.as_deref())
        {
            Some(name) => format!(" (a disposable of {name})"),
            None => " (of a qube without default_dispvm)".into(),
        },
        "" => " (the call names no target)".into(),
        name if !name.starts_with('@') && asked.system.get(name).is_none() => {
            " (no such qube: taken as @default)".into()
        }
        _ => String::new(),
    }
}

fn allowed(
    page: &mut Page,
    asked: &Asked<'_>,
    allow: &Allow,
    readiness: impl Fn(&QubeName) -> Readiness,
) -> u8 {
    let (grant, call) = (&allow.grant, asked.question.call());
    if !grant.is_for_dom0() {
        page.line("allowed", format!("the call goes to {}", grant.target));
        match grant.target.strip_prefix("@dispvm:") {
            Some(template) => page.line("", format!(
                "qrexec has qubesd make a disposable of {template}; the queue serves calls allowed with target=@adminvm only"
            )),
            None => {
                let state = asked.system.get(&grant.target).map_or("", |info| info.power_state.as_str());
                page.line("", format!("{} is {state}", grant.target));
            }
        }
        return ALLOWED;
    }
    page.line("allowed", format!("dom0 serves it, by its own {}", call.service));
    if !PROVIDERS.contains(&call.service) {
        return ALLOWED;
    }
    let template = match resolve(asked, &grant.requested_target, &readiness) {
        Ok(template) => template,
        Err(reason) => {
            page.line("refused", format!("allowed by the policy, but dom0's program refuses it: {reason}"));
            return DENIED;
        }
    };
    page.line(
        "resolves",
        format!("{} is a disposable of {} (uuid {})", grant.requested_target, template.name, template.uuid),
    );
    page.line("ready", ready_text(&readiness(&template.name), &template.name));
    ALLOWED
}

fn resolve(
    asked: &Asked<'_>,
    requested: &str,
    readiness: &impl Fn(&QubeName) -> Readiness,
) -> Result<resolve::Template, String> {
    let is_ready =
        |name: &QubeName| matches!(readiness(name), Readiness::Waiting { ready, .. } if !ready.is_empty());
    let question = asked.question;
    let source = question.requested_source.as_ref().unwrap_or(&question.source);
    let request = Request {
        service: question.service.parse().map_err(|error: names::NameError| error.to_string())?,
        source: source.parse().map_err(|error: names::NameError| error.to_string())?,
        target: requested.parse::<Target>().map_err(|error| error.to_string())?,
    };
    resolve::template(&request, asked.system, asked.config.tag_choice, is_ready)
        .map_err(|error| error.to_string())
}

fn ready_text(readiness: &Readiness, template: &QubeName) -> String {
    match readiness {
        Readiness::NoKeeper => {
            "no: no keeper is running (preload-dispvm), so a disposable is started for the call".into()
        }
        Readiness::Unknown(cause) => format!("unknown: the queue of {template} cannot be read: {cause}"),
        Readiness::Waiting { ready, stale, starting } if ready.is_empty() => match (stale, starting) {
            (0, 0) => format!(
                "no: none waits, so one is started for the call; qvm-features {template} preload-dispvm-max 2 keeps two"
            ),
            _ => format!("no: {starting} being made, {stale} out of date; one is started for the call"),
        },
        Readiness::Waiting { ready, .. } => format!("yes: {} preloaded: {}", ready.len(), ready.join(", ")),
    }
}

fn choices(page: &mut Page, asked: &Asked<'_>, ask: &Ask) {
    page.line("asked", "the user chooses; no disposable is taken or made before the answer");
    for choice in &ask.targets {
        let mark = if ask.default_target.as_ref() == Some(choice) { " (offered first)" } else { "" };
        page.line(
            "",
            match ask.answer(choice, asked.system) {
                Decision::Deny(deny) => format!("{choice}{mark}: would be refused: {}", deny.reason),
                _ => format!("{choice}{mark}"),
            },
        );
    }
    if ask.guivm(asked.system).is_none() {
        page.line(
            "",
            format!("but {} has no guivm, so nobody can be asked and the call is refused", ask.source),
        );
    }
}

fn denied(page: &mut Page, call: &Call<'_>, deny: &Deny) {
    page.line("denied", deny.reason.to_string());
    let source = call.source;
    let rule = |target: &str| {
        format!(
            "a line before it allows this one, in /etc/qubes/policy.d/30-user.policy: {} * {source} {target} allow target=@adminvm",
            call.service
        )
    };
    let remedy = match &deny.reason {
        DenyReason::NotATarget(_) if call.target.starts_with("@dispvm:@tag:") => {
            "the policy of Qubes OS takes no tag as a target; --tag-targets shows what the embedded host says"
                .into()
        }
        DenyReason::NotATemplate(name) => {
            format!("qvm-prefs {name} template_for_dispvms True makes it one")
        }
        DenyReason::NoDefaultDispvm | DenyReason::NothingToCompare(_) => {
            format!("qvm-prefs {source} default_dispvm TEMPLATE sets one")
        }
        DenyReason::ByRule | DenyReason::NoMatchingRule
            if PROVIDERS.contains(&call.service) && call.target.starts_with("@dispvm") =>
        {
            rule(call.target)
        }
        _ => return,
    };
    page.line("remedy", remedy);
}

fn target<'a>(call: &Call<'a>) -> &'a str {
    if call.target.is_empty() { "@default" } else { call.target }
}

/// Lines with a word in front; whatever the texts are made of, they are fit for a terminal.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, word: &str, text: impl AsRef<str>) {
        let text = printable(text.as_ref().as_bytes()).to_string();
        self.0.push_str(format!("{word:<9} {text}").trim_end());
        self.0.push('\n');
    }

    fn end(self, exit: u8) -> Outcome {
        Outcome { out: self.0, reason: String::new(), exit }
    }
}

const NEAR_SHOWN: usize = 12;
