//! What policy decisions need to know of all qubes (spec/policy.md 9.1).

use super::{Qube, Store, labels};
use policy::{QubeInfo, SystemInfo};

/// The content of the answer to `internal.GetSystemInfo`.
#[must_use]
pub fn system_info(store: &Store) -> SystemInfo {
    let qubes = store.iter().map(|qube| entry(store, qube));
    SystemInfo::new(qubes).unwrap_or_else(|error| {
        // The store's names and UUIDs are checked and unique. Should they not be, nothing is known and all is refused.
        log::error!("{error}");
        SystemInfo::default()
    })
}

fn entry(store: &Store, qube: &Qube) -> QubeInfo {
    let label = store.text(qube, "label");
    let name = |property: &str| Some(store.text(qube, property)).filter(|value| !value.is_empty());
    QubeInfo {
        name: qube.name.to_string(),
        class: qube.class.to_string(),
        tags: qube.tags().map(ToString::to_string).collect(),
        template_for_dispvms: qube.is_template_for_dispvms(),
        default_dispvm: name("default_dispvm"),
        power_state: qube.runtime.state.to_string(),
        uuid: Some(qube.uuid),
        internal: qube.feature("internal").map(str::to_owned),
        icon: store.text(qube, "icon"),
        label: labels::color(&label).unwrap_or("0x000000").to_owned(),
        guivm: name("guivm"),
        relayvm: None,
        transport_rpc: None,
    }
}
