//! A second evaluator, written to be obvious: everything is text and JSON, nothing is shared with the crate.
//!
//! It follows the tables of spec/policy.md word by word. `Err` stands for what the reference implementation answers
//! with an exception.

use serde_json::Value;
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The reply's lines, and the number of the rule's line.
    Allow(Vec<String>, usize),
    /// The choices, the first choice, and the number of the rule's line.
    Ask(Vec<String>, Option<String>, usize),
    Deny,
}

pub(crate) struct Question<'a> {
    pub(crate) rules: &'a [String],
    pub(crate) system: &'a Value,
    pub(crate) source: &'a str,
    pub(crate) service: &'a str,
    pub(crate) argument: &'a str,
    pub(crate) target: &'a str,
}

type Fallible<T> = Result<T, ()>;

const DOM0: [&str; 3] = ["dom0", "@adminvm", "uuid:00000000-0000-0000-0000-000000000000"];

pub(crate) fn decide(question: &Question<'_>) -> Outcome {
    try_decide(question).unwrap_or(Outcome::Deny)
}

fn try_decide(q: &Question<'_>) -> Fallible<Outcome> {
    let requested = check_target(q, q.target)?;
    for (index, line) in q.rules.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !(fits_but_target(q, &words)? && target_fits(q, words[3], &requested)?) {
            continue;
        }
        return match words[4] {
            "allow" => allow(q, &words, &requested, index + 1),
            "ask" => ask(q, &words, index + 1),
            _ => Err(()),
        };
    }
    Err(())
}

fn domain<'a>(q: &Question<'a>, name: &str) -> Option<(&'a str, &'a Value)> {
    let domains = q.system["domains"].as_object().unwrap();
    let found = domains.iter().find(|(own, info)| {
        own.as_str() == name || name.strip_prefix("uuid:") == Some(info["uuid"].as_str().unwrap())
    });
    found.map(|(own, info)| (own.as_str(), info))
}

fn check_target(q: &Question<'_>, target: &str) -> Fallible<String> {
    if matches!(target, "" | "@default") {
        return Ok("@default".to_owned());
    }
    if matches!(target, "@adminvm" | "@dispvm") {
        return Ok(target.to_owned());
    }
    if let Some(base) = target.strip_prefix("@dispvm:") {
        let is_template = domain(q, base).is_some_and(|(_, info)| info["template_for_dispvms"] == true);
        return if is_template { Ok(target.to_owned()) } else { Err(()) };
    }
    if target.starts_with('@') || target == "*" {
        return Err(());
    }
    Ok(if domain(q, target).is_some() { target } else { "@default" }.to_owned())
}

fn parameter<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words[5..]
        .iter()
        .find_map(|word| word.split_once('=').filter(|(own, _)| *own == key))
        .map(|(_, value)| value)
}

fn fits_but_target(q: &Question<'_>, words: &[&str]) -> Fallible<bool> {
    let source = words[2];
    Ok((words[0] == "*" || words[0] == q.service)
        && (words[1] == "*" || words[1] == q.argument)
        && !source.starts_with("@dispvm:")
        && target_fits(q, source, q.source)?)
}

fn same(q: &Question<'_>, one: &str, other: &str) -> bool {
    one == other
        || (one.starts_with("uuid:") != other.starts_with("uuid:")
            && domain(q, one).zip(domain(q, other)).is_some_and(|(one, other)| one.0 == other.0))
}

fn target_fits(q: &Question<'_>, token: &str, asked: &str) -> Fallible<bool> {
    let known = domain(q, asked);
    let tagged = |name: &str, tag: &str| -> Fallible<bool> {
        let (_, info) = domain(q, name).ok_or(())?;
        Ok(info["template_for_dispvms"] == true && has_tag(info, tag))
    };
    Ok(match token {
        "*" => true,
        "@anyvm" => !DOM0.contains(&asked),
        "@default" | "@dispvm" => asked == token,
        _ if DOM0.contains(&token) => DOM0.contains(&asked),
        _ => {
            if let Some(class) = token.strip_prefix("@type:") {
                known.is_some_and(|(_, info)| info["type"] == class)
            } else if let Some(tag) = token.strip_prefix("@tag:") {
                known.is_some_and(|(_, info)| has_tag(info, tag))
            } else if let Some(tag) = token.strip_prefix("@dispvm:@tag:") {
                match (asked, asked.strip_prefix("@dispvm:"), default_dispvm(q)) {
                    ("@dispvm", _, Some(default)) => tagged(&default, tag)?,
                    (_, Some(base), _) => tagged(base, tag)?,
                    _ => false,
                }
            } else if let Some(base) = token.strip_prefix("@dispvm:") {
                match (asked, asked.strip_prefix("@dispvm:")) {
                    ("@dispvm", _) => default_dispvm(q).ok_or(())? == base,
                    (_, Some(asked)) => same(q, base, asked),
                    _ => false,
                }
            } else {
                !asked.starts_with('@') && same(q, token, asked)
            }
        }
    })
}

fn has_tag(info: &Value, tag: &str) -> bool {
    info["tags"].as_array().unwrap().iter().any(|own| own == tag)
}

fn default_dispvm(q: &Question<'_>) -> Option<String> {
    domain(q, q.source)?.1["default_dispvm"].as_str().map(str::to_owned)
}

fn runs(q: &Question<'_>, target: &str) -> Fallible<bool> {
    if DOM0.contains(&target) {
        return Ok(true);
    }
    Ok(!target.starts_with('@') && domain(q, target).ok_or(())?.1["power_state"] == "Running")
}

fn allow(q: &Question<'_>, words: &[&str], requested: &str, line: usize) -> Fallible<Outcome> {
    let mut target = check_target(q, parameter(words, "target").unwrap_or(requested))?;
    if target == "@default" {
        return Err(());
    }
    if target == "@dispvm" {
        target = format!("@dispvm:{}", default_dispvm(q).ok_or(())?);
    }
    if target == "@adminvm" {
        target = "dom0".to_owned();
    }
    if parameter(words, "autostart") == Some("no") && !runs(q, &target)? {
        return Err(());
    }
    reply(q, words, &target, requested).map(|lines| Outcome::Allow(lines, line))
}

/// The reply for a target that the rule or the user has settled.
pub(crate) fn reply(
    q: &Question<'_>,
    words: &[&str],
    target: &str,
    requested: &str,
) -> Fallible<Vec<String>> {
    if target == q.source {
        return Err(());
    }
    let mut user = parameter(words, "user").filter(|user| !user.is_empty()).unwrap_or("DEFAULT");
    let autostart = if parameter(words, "autostart") == Some("no") { "False" } else { "True" };
    let mut after = Vec::new();
    let place = if DOM0.contains(&target) {
        vec!["target=dom0".to_owned()]
    } else if let Some(base) = target.strip_prefix("@dispvm:") {
        let uuid = domain(q, base).ok_or(())?.1["uuid"].as_str().unwrap();
        vec![format!("target={target}"), format!("target_uuid=@dispvm:uuid:{uuid}")]
    } else {
        let (_, info) = domain(q, target).ok_or(())?;
        let mut shown = target;
        let mut uuid = info["uuid"].as_str().unwrap();
        if info["type"] == "RemoteVM" {
            user = "DEFAULT";
            shown = info["relayvm"].as_str().ok_or(())?;
            uuid = domain(q, shown).ok_or(())?.1["uuid"].as_str().unwrap();
            let transport = info["transport_rpc"].as_str().ok_or(())?;
            after.push(format!("service={transport}+{requested}+{}{}", q.service, q.argument));
        }
        vec![format!("target={shown}"), format!("target_uuid=uuid:{uuid}")]
    };
    let mut lines = vec![format!("user={user}"), "result=allow".to_owned()];
    lines.extend(place);
    lines.extend([format!("autostart={autostart}"), format!("requested_target={requested}")]);
    lines.extend(after);
    Ok(lines)
}

fn ask(q: &Question<'_>, words: &[&str], line: usize) -> Fallible<Outcome> {
    let plain = |token: &str| if DOM0.contains(&token) { "dom0".to_owned() } else { token.to_owned() };
    let mut targets = match parameter(words, "target") {
        Some(token) => vec![plain(token)],
        None => candidates(q)?,
    };
    if parameter(words, "autostart") == Some("no") {
        let running: Vec<bool> = targets.iter().map(|target| runs(q, target)).collect::<Fallible<_>>()?;
        let mut running = running.into_iter();
        targets.retain(|_| running.next().unwrap());
    }
    if targets.is_empty() {
        return Err(());
    }
    let first = match parameter(words, "default_target") {
        Some("@dispvm") => default_dispvm(q).map(|base| format!("@dispvm:{base}")),
        other => other.map(plain),
    };
    Ok(Outcome::Ask(targets.clone(), first.filter(|first| targets.contains(first)), line))
}

fn candidates(q: &Question<'_>) -> Fallible<Vec<String>> {
    let (own, _) = domain(q, q.source).ok_or(())?;
    let mut found = BTreeSet::new();
    for line in q.rules.iter().rev() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !fits_but_target(q, &words)? {
            continue;
        }
        for target in expand(q, parameter(&words, "target").unwrap_or(words[3]))? {
            if words[4] == "deny" {
                found.remove(&target)
            } else {
                found.insert(target)
            };
        }
    }
    let mut shown = BTreeSet::new();
    for target in found {
        let target = match target.as_str() {
            "@dispvm" => match default_dispvm(q) {
                Some(base) => format!("@dispvm:{base}"),
                None => continue,
            },
            "@adminvm" => "dom0".to_owned(),
            _ => target,
        };
        let name = target.strip_prefix("@dispvm:").unwrap_or(&target);
        let hidden = target == own || {
            let internal = &domain(q, name).ok_or(())?.1["internal"];
            internal.as_str().is_some_and(|text| !text.is_empty())
        };
        if !hidden {
            shown.insert(target);
        }
    }
    Ok(shown.into_iter().collect())
}

fn expand(q: &Question<'_>, token: &str) -> Fallible<Vec<String>> {
    let mut targets = Vec::new();
    for (name, info) in q.system["domains"].as_object().unwrap() {
        let template = info["template_for_dispvms"] == true;
        let wide = token == "*" || token == "@anyvm";
        let by_class = token.strip_prefix("@type:").is_some_and(|class| info["type"] == class);
        let by_tag = token.strip_prefix("@tag:").is_some_and(|tag| has_tag(info, tag));
        let by_template_tag = token.strip_prefix("@dispvm:@tag:").is_some_and(|tag| has_tag(info, tag));
        if (wide && !(token == "@anyvm" && name == "dom0")) || by_class || by_tag {
            targets.push(name.clone());
        }
        if template && (wide || by_template_tag) {
            targets.push(format!("@dispvm:{name}"));
        }
    }
    match token {
        "*" | "@anyvm" | "@dispvm" => targets.push("@dispvm".to_owned()),
        "@adminvm" => targets.push("@adminvm".to_owned()),
        _ if !token.starts_with('@') => targets.extend(domain(q, token).map(|(name, _)| name.to_owned())),
        _ => {
            if let Some(base) = token.strip_prefix("@dispvm:").filter(|base| !base.starts_with('@')) {
                let (name, info) = domain(q, base).ok_or(())?;
                targets.extend((info["template_for_dispvms"] == true).then(|| format!("@dispvm:{name}")));
            }
        }
    }
    Ok(targets)
}
