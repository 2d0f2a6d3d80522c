//! Creating and removing (spec/admin-api.md 4.5).

use super::{Answer, Ask};
use crate::dom0::Dom0;
use crate::store::{NewQube, Refusal};
use admin::{ErrorClass, QubeClass};
use names::{QubeName, Tag};
use std::sync::Arc;

pub(super) fn app(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    create(dom0, ask, QubeClass::AppVM)
}

pub(super) fn disposable(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    create(dom0, ask, QubeClass::DispVM)
}

pub(super) fn template(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    if !ask.arg.is_empty() {
        return Err(Refusal::protocol("TemplateVM cannot be based on template"));
    }
    create(dom0, ask, QubeClass::TemplateVM)
}

pub(super) fn unknown(_: &Arc<Dom0>, _: &Ask<'_>) -> Answer {
    let message = "this host has qubes of class AppVM, DispVM and TemplateVM only";
    Err(Refusal::new(ErrorClass::QubesNotImplementedError, message))
}

fn create(dom0: &Arc<Dom0>, ask: &Ask<'_>, class: QubeClass) -> Answer {
    let (name, label) = options(ask.payload)?;
    let template = match ask.arg {
        "" => None,
        template => Some(parse_name(template)?),
    };
    let new = NewQube { name, label, template, class };
    let tags = [creator_tag("created-by", &ask.source)?];
    dom0.create_qube(&new, &tags)?;
    Ok(Vec::new())
}

/// `name=N label=L`, in any order. Upstream looks for the label first.
fn options(payload: &[u8]) -> Result<(QubeName, String), Refusal> {
    let text = std::str::from_utf8(payload).map_err(|_| Refusal::protocol("the payload is no text"))?;
    let (mut name, mut label) = (None, None);
    for word in text.split(' ') {
        let (key, value) =
            word.split_once('=').ok_or_else(|| Refusal::protocol("the payload must be words key=value"))?;
        let slot = match key {
            "name" => &mut name,
            "label" => &mut label,
            "pool" => return Err(Refusal::protocol("Pool option specified but 'allow_pool' is False")),
            _ if key.starts_with("pool:") => {
                return Err(Refusal::protocol("Pool option specified but 'allow_pool' is False"));
            }
            _ => return Err(Refusal::protocol(format!("Invalid option: {key}"))),
        };
        if slot.replace(value).is_some() {
            return Err(Refusal::protocol("Options must be unique"));
        }
    }
    let missing = |key| Refusal::protocol(format!("Creation requested without key: {key}"));
    let label = label.ok_or_else(|| missing("label"))?;
    let name = name.ok_or_else(|| missing("name"))?;
    Ok((parse_name(name)?, label.to_owned()))
}

fn parse_name(text: &str) -> Result<QubeName, Refusal> {
    text.parse().map_err(|_| Refusal::value(format!("invalid VM name: '{text}'")))
}

pub(super) fn create_disposable(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    if !matches!(ask.arg, "" | "preload") {
        return Err(Refusal::denied("Argument not in \"'', 'preload'\""));
    }
    let with_uuid = match ask.payload {
        _ if ask.arg == "preload" => false,
        b"" => false,
        b"uuid" => true,
        _ => return Err(Refusal::protocol("Invalid payload, expected empty string or 'uuid'")),
    };
    let template = dom0.read(|store| {
        if !ask.dest.is_dom0() {
            return Ok(ask.dest.clone());
        }
        let source = store.qube(&ask.source)?;
        store
            .text(source, "default_dispvm")
            .parse()
            .map_err(|_| Refusal::general(format!("{} has no default_dispvm", ask.source)))
    })?;
    if ask.arg == "preload" {
        dom0.change(|store| {
            store.qube(&template)?;
            store.fire_preload(&template, "autostart was requested");
            Ok(())
        })?;
        return Ok(Vec::new());
    }
    let tags = [creator_tag("created-by", &ask.source)?, creator_tag("disp-created-by", &ask.source)?];
    let (name, uuid) = dom0.create_disposable(&template, &tags)?;
    Ok(if with_uuid { format!("uuid:{uuid}") } else { name.to_string() }.into_bytes())
}

fn creator_tag(prefix: &str, source: &QubeName) -> Result<Tag, Refusal> {
    // A dot may be in a name, but not in a tag; upstream has the same limit.
    format!("{prefix}-{source}")
        .replace('.', "_")
        .parse()
        .map_err(|error: names::NameError| Refusal::value(error.to_string()))
}

pub(super) fn remove(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.remove_qube(&ask.dest)?;
    Ok(Vec::new())
}
