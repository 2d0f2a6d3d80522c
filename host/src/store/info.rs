//! What policy decisions need to know of all qubes (spec/policy.md 9.1).

use super::{Qube, Store, labels};
use serde_json::{Map, Value, json};

/// The answer to `internal.GetSystemInfo`.
#[must_use]
pub fn system_info(store: &Store) -> Value {
    let domains: Map<String, Value> =
        store.iter().map(|qube| (qube.name.to_string(), entry(store, qube))).collect();
    json!({ "domains": domains })
}

fn entry(store: &Store, qube: &Qube) -> Value {
    let label = store.text(qube, "label");
    let name_or_null = |property: &str| match store.text(qube, property) {
        value if value.is_empty() => Value::Null,
        value => value.into(),
    };
    json!({
        "internal": qube.feature("internal"),
        "tags": qube.tags().map(names::Tag::as_str).collect::<Vec<_>>(),
        "type": qube.class.as_str(),
        "template_for_dispvms": qube.is_template_for_dispvms(),
        "default_dispvm": name_or_null("default_dispvm"),
        "icon": store.text(qube, "icon"),
        "label": labels::color(&label).unwrap_or("0x000000"),
        "guivm": name_or_null("guivm"),
        "relayvm": Value::Null,
        "transport_rpc": Value::Null,
        "power_state": qube.runtime.state.as_str(),
        "uuid": qube.uuid.to_string(),
    })
}
