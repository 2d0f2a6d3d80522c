//! Lists the qubes of a running host.

use super::failure::Failure;
use super::place;
use crate::Layout;
use admin::Client;
use names::QubeRef;
use serde_json::json;
use std::io::Write;
use std::path::Path;

pub(super) fn ls(state: Option<&Path>, json: bool) -> Result<u8, Failure> {
    let place = place::for_serve(state)?;
    let layout = Layout::new(&place.path);
    let failed =
        |error: &dyn std::fmt::Display| Failure::trouble("list the qubes of", place.path.display(), error);
    let admin = Client::new(layout.qubesd_socket());
    let qubes =
        admin.list().map_err(|error| failed(&format!("{error}; is \"qubes-host serve\" running there?")))?;
    let mut text = String::new();
    if !json {
        text.push_str("NAME             CLASS       STATE     TEMPLATE         PRELOADED\n");
    }
    for qube in qubes {
        let reference = QubeRef::Name(qube.name.clone());
        let property = |name: &str| admin.property_get(&reference, name).ok().map(|property| property.value);
        let template = property("template").unwrap_or_default();
        let preloaded = property("is_preload").is_some_and(|value| value == "True");
        if json {
            let line = json!({
                "name": qube.name.as_str(), "class": qube.class.to_string(), "state": qube.state.to_string(),
                "uuid": qube.uuid.to_string(), "template": template, "preloaded": preloaded,
            });
            text.push_str(&line.to_string());
            text.push('\n');
        } else {
            let mark = if preloaded { "yes" } else { "" };
            let (class, state) = (qube.class.to_string(), qube.state.to_string());
            let line = format!("{:<16} {class:<11} {state:<9} {template:<16} {mark}", qube.name);
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    drop(std::io::stdout().write_all(text.as_bytes()));
    Ok(0)
}
