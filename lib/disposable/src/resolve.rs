//! Which disposable template a call means. Pure. Refuses rather than guesses (promise P8).

use crate::config::TagChoice;
use crate::error::CallError;
use crate::request::Request;
use names::{QubeName, QubeRef, Tag, Target, Uuid};
use policy::{QubeInfo, SystemInfo};

/// A qube that exists and has template_for_dispvms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: QubeName,
    /// Its identity.
    pub uuid: Uuid,
}

/// Finds the template for a request.
///
/// - `@dispvm`: the caller's default_dispvm. A disposable's default is its own template, which qubesd gives as its
///   default_dispvm (spec/disposables.md R1); none: refused, never the system's default (users.md S1).
/// - `@dispvm:NAME`: that template.
/// - `@dispvm:@tag:TAG`: the caller's default_dispvm if it has the tag; else the only template that has it; else what
///   `choice` says, where `is_ready` tells whether a template has a preloaded disposable.
///
/// # Errors
/// A refusal that says what to set.
pub fn template(
    request: &Request,
    system: &SystemInfo,
    choice: TagChoice,
    is_ready: impl Fn(&QubeName) -> bool,
) -> Result<Template, CallError> {
    let source = system.get(request.source.as_str()).ok_or_else(|| {
        CallError::refused("find the calling qube", &request.source, "no such qube")
            .remedy("it was removed while it called")
    })?;
    match &request.target {
        Target::Dispvm => default_of(request, source, system),
        Target::DispvmOf(QubeRef::Name(name)) => checked(name.as_str(), system),
        Target::DispvmOf(reference @ QubeRef::Uuid(_)) => checked(&reference.to_string(), system),
        Target::DispvmTag(tag) => tagged(request, source, tag, system, choice, is_ready),
        other => Err(CallError::refused(
            "open in a disposable for",
            &request.source,
            format!("the target is {other}"),
        )
        .remedy(
            "this service serves @dispvm targets; let the policy send other targets to their qube directly",
        )),
    }
}

fn default_of(request: &Request, source: &QubeInfo, system: &SystemInfo) -> Result<Template, CallError> {
    match source.default_dispvm.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => checked(name, system),
        None => Err(CallError::refused(
            "find the disposable template of",
            &request.source,
            "its default_dispvm is empty",
        )
        .remedy(format!("qvm-prefs {} default_dispvm TEMPLATE sets one", request.source))),
    }
}

fn checked(text: &str, system: &SystemInfo) -> Result<Template, CallError> {
    let refused = |cause: &str| CallError::refused("use the disposable template", text, cause);
    let qube = system.get(text).ok_or_else(|| {
        refused("no such qube")
            .remedy("qvm-ls shows the qubes; check the name in the call and in default_dispvm")
    })?;
    if !qube.template_for_dispvms {
        return Err(refused("it has template_for_dispvms=False")
            .remedy(format!("qvm-prefs {text} template_for_dispvms True makes it one")));
    }
    named(qube).ok_or_else(|| {
        CallError::trouble("use the disposable template", text, "qubesd gives a bad name or UUID")
    })
}

fn tagged(
    request: &Request,
    source: &QubeInfo,
    tag: &Tag,
    system: &SystemInfo,
    choice: TagChoice,
    is_ready: impl Fn(&QubeName) -> bool,
) -> Result<Template, CallError> {
    let fits = |qube: &QubeInfo| qube.template_for_dispvms && qube.has_tag(tag.as_str());
    if let Some(default) = source.default_dispvm.as_deref().and_then(|name| system.get(name)) {
        if fits(default) {
            return checked(&default.name, system);
        }
    }
    let mut candidates: Vec<Template> = system.qubes().filter(|qube| fits(qube)).filter_map(named).collect();
    candidates.sort_by(|a, b| a.name.cmp(&b.name));
    if candidates.len() > 1 && choice == TagChoice::ReadyFirst {
        let ready = candidates.iter().position(|template| is_ready(&template.name)).unwrap_or(0);
        candidates = vec![candidates.swap_remove(ready)];
    }
    let refused = |cause: String| CallError::refused("choose a disposable template with tag", tag, cause);
    match candidates.len() {
        0 => Err(refused("no template with template_for_dispvms has it".into())
            .remedy(format!("qvm-tags TEMPLATE add {tag}"))),
        1 => Ok(candidates.swap_remove(0)),
        _ => {
            let names: Vec<&str> = candidates.iter().map(|template| template.name.as_str()).collect();
            Err(refused(format!("several have it: {}", names.join(", "))).remedy(format!(
                "make one of them the default_dispvm of {}, or set tag-choice = \"ready-first\" in dispvm.toml",
                request.source
            )))
        }
    }
}

fn named(qube: &QubeInfo) -> Option<Template> {
    Some(Template { name: qube.name.parse().ok()?, uuid: qube.uuid? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// work -> dvm (tag a); disp7 -> dvm; vault has none; plain is no template; b1, b2 have tag b; lonely has tag c.
    const SYSTEM: &str = r#"{"domains":{
        "work":{"type":"AppVM","tags":[],"template_for_dispvms":false,"default_dispvm":"dvm","uuid":"00000000-0000-4000-8000-000000000001"},
        "disp7":{"type":"DispVM","tags":[],"template_for_dispvms":false,"default_dispvm":"dvm","uuid":"00000000-0000-4000-8000-000000000002"},
        "vault":{"type":"AppVM","tags":[],"template_for_dispvms":false,"default_dispvm":null,"uuid":"00000000-0000-4000-8000-000000000003"},
        "odd":{"type":"AppVM","tags":[],"template_for_dispvms":false,"default_dispvm":"plain","uuid":"00000000-0000-4000-8000-000000000004"},
        "gone":{"type":"AppVM","tags":[],"template_for_dispvms":false,"default_dispvm":"nosuch","uuid":"00000000-0000-4000-8000-000000000005"},
        "plain":{"type":"AppVM","tags":["b"],"template_for_dispvms":false,"default_dispvm":null,"uuid":"00000000-0000-4000-8000-000000000006"},
        "dvm":{"type":"AppVM","tags":["a"],"template_for_dispvms":true,"default_dispvm":"dvm","uuid":"00000000-0000-4000-8000-000000000007"},
        "b1":{"type":"AppVM","tags":["b"],"template_for_dispvms":true,"default_dispvm":null,"uuid":"00000000-0000-4000-8000-000000000008"},
        "b2":{"type":"AppVM","tags":["b","a"],"template_for_dispvms":true,"default_dispvm":null,"uuid":"00000000-0000-4000-8000-000000000009"},
        "lonely":{"type":"AppVM","tags":["c"],"template_for_dispvms":true,"default_dispvm":null,"uuid":"00000000-0000-4000-8000-00000000000a"}
    }}"#;

    fn resolve(source: &str, target: &str, choice: TagChoice) -> Result<String, String> {
        let request = Request {
            service: "qubes.OpenInVM".parse().unwrap(),
            source: source.parse().unwrap(),
            target: target.parse().unwrap(),
        };
        let system = SystemInfo::from_json(SYSTEM.as_bytes()).unwrap();
        let is_ready = |name: &QubeName| name.as_str() == "b2";
        template(&request, &system, choice, is_ready).map(|template| template.name.to_string()).map_err(
            |error| {
                assert_eq!(error.exit_code(), 126, "{error}");
                error.to_string()
            },
        )
    }

    #[test]
    fn p8_each_target_by_the_letter() {
        for (source, target, expected) in [
            ("work", "@dispvm", Ok("dvm")),
            ("disp7", "@dispvm", Ok("dvm")),
            ("vault", "@dispvm", Err("qvm-prefs vault default_dispvm")),
            ("odd", "@dispvm", Err("template_for_dispvms")),
            ("gone", "@dispvm", Err("no such qube")),
            ("nobody", "@dispvm", Err("no such qube")),
            ("vault", "@dispvm:dvm", Ok("dvm")),
            ("vault", "@dispvm:uuid:00000000-0000-4000-8000-000000000007", Ok("dvm")),
            ("work", "@dispvm:plain", Err("qvm-prefs plain template_for_dispvms True")),
            ("work", "@dispvm:nosuch", Err("no such qube")),
            ("work", "@dispvm:@tag:a", Ok("dvm")),
            ("vault", "@dispvm:@tag:c", Ok("lonely")),
            ("vault", "@dispvm:@tag:b", Err("several have it: b1, b2")),
            ("work", "@dispvm:@tag:nosuch", Err("qvm-tags TEMPLATE add nosuch")),
            ("work", "vault", Err("this service serves @dispvm targets")),
            ("work", "@default", Err("this service serves @dispvm targets")),
            ("work", "dom0", Err("this service serves @dispvm targets")),
        ] {
            let got = resolve(source, target, TagChoice::Refuse);
            match (&got, expected) {
                (Ok(name), Ok(expected)) => assert_eq!(name, expected, "{source} {target}"),
                (Err(text), Err(part)) => assert!(text.contains(part), "{source} {target}: {text}"),
                _ => panic!("{source} {target}: {got:?}, expected {expected:?}"),
            }
        }
        assert_eq!(resolve("vault", "@dispvm:@tag:b", TagChoice::ReadyFirst), Ok("b2".into()));
    }
}
