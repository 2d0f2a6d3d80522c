//! The qubes of a new state directory.

use super::{Qube, Store};
use crate::dispid::RecentIds;
use admin::QubeClass;
use names::{QubeName, Uuid};
use std::collections::BTreeMap;

impl Store {
    /// Nothing but dom0.
    pub(super) fn bare() -> Self {
        let dom0 = Qube::new(QubeName::dom0(), Uuid::DOM0, QubeClass::AdminVM);
        Self {
            qubes: BTreeMap::from([(dom0.name.clone(), dom0)]),
            system: BTreeMap::new(),
            recent: RecentIds::default(),
            events: Vec::new(),
            unsaved: false,
            info_revision: 0,
        }
    }

    /// The qubes that an administrator finds at first: `system`, which stands for this machine's own system;
    /// `default-dvm`, from which disposables are made; `work`, which may ask for them; and `vault`, which may not.
    #[must_use]
    pub fn default_set(mut uuid: impl FnMut() -> Uuid) -> Self {
        let mut store = Self::bare();
        let mut add = |name: &str, class, label: &str, properties: &[(&str, &str)]| {
            let Ok(name) = name.parse::<QubeName>() else { return };
            let mut qube = Qube::new(name.clone(), uuid(), class);
            qube.properties.insert("label".into(), label.into());
            if class == QubeClass::AppVM {
                qube.properties.insert("template".into(), "system".into());
            }
            qube.properties.extend(properties.iter().map(|(name, value)| ((*name).into(), (*value).into())));
            if name.as_str() == "default-dvm" {
                qube.tags
                    .extend(["disposable-default", "open-in-disposable"].iter().flat_map(|tag| tag.parse()));
            }
            if class == QubeClass::AppVM {
                let features = [
                    "qrexec",
                    "supported-rpc.qubes.WaitForRunningSystem",
                    "supported-rpc.qubes.WaitForSession",
                ];
                qube.features.extend(features.map(|feature| (feature.into(), "1".into())));
            }
            store.qubes.insert(name, qube);
        };
        add("system", QubeClass::TemplateVM, "black", &[]);
        add("default-dvm", QubeClass::AppVM, "red", &[("template_for_dispvms", "True")]);
        add("work", QubeClass::AppVM, "blue", &[("default_dispvm", "default-dvm")]);
        add("vault", QubeClass::AppVM, "gray", &[("default_dispvm", "")]);
        for (property, value) in [("default_dispvm", "default-dvm"), ("default_template", "system")] {
            store.system.insert(property.into(), value.into());
        }
        store.unsaved = true;
        store
    }
}
