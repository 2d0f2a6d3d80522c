//! How many disposables a template should have waiting, and the events that say when to look again
//! (spec/disposables.md R26, R28, R34 to R40).

use super::features::members;
use super::{Qube, Store};
use admin::protocol::Event;
use names::QubeName;
use std::collections::BTreeSet;

impl Store {
    /// The maximum in force for a template (R28).
    #[must_use]
    pub fn preload_max(&self, template: &QubeName) -> usize {
        let number = |value: &str| value.parse().unwrap_or(0);
        if self.follows_dom0(template) {
            return self.dom0_max().map_or(0, number);
        }
        self.get(template).and_then(|qube| qube.feature("preload-dispvm-max")).map_or(0, number)
    }

    fn dom0_max(&self) -> Option<&str> {
        self.get(&QubeName::dom0())?.feature("preload-dispvm-max")
    }

    /// Whether the value on dom0 counts for this template, not its own.
    fn follows_dom0(&self, template: &QubeName) -> bool {
        self.default_dispvm().as_ref() == Some(template) && self.dom0_max().is_some()
    }

    /// R26: the property of each qube that was added or removed reads differently now.
    pub(super) fn list_changed(&mut self, old: &str, new: &str) {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) =
            (members(old).into_iter().collect(), members(new).into_iter().collect());
        for name in old.symmetric_difference(&new) {
            if name.parse().is_ok_and(|name: QubeName| self.get(&name).is_some()) {
                self.fire(Event::new(name, "property-reset:is_preload").with("name", "is_preload"));
            }
        }
    }

    /// R34, R35, R36.
    pub(super) fn max_changed(&mut self, name: &QubeName, new: Option<&str>) {
        if name.is_dom0() {
            let Some(default) = self.default_dispvm() else { return };
            let reason = match new {
                Some(value) => format!("global feature was set to '{value}'"),
                None => "global feature was deleted".to_owned(),
            };
            return self.fire_preload(&default, &reason);
        }
        let Some(value) = new else { return };
        if self.get(name).is_some_and(Qube::is_template_for_dispvms) && !self.follows_dom0(name) {
            self.fire_preload(name, &format!("local feature was set to '{value}'"));
        }
    }

    /// R37, R38: the default_dispvm of the system went from one template to another.
    pub(super) fn preload_default_moved(&mut self, old: &str, new: &str) {
        let Some(global) = self.dom0_max().map(str::to_owned) else { return };
        for (name, reason) in [(old, "it was the default_dispvm"), (new, "it became the default_dispvm")] {
            let Some(qube) = name.parse().ok().and_then(|name: QubeName| self.get(&name)) else { continue };
            if qube.feature("preload-dispvm-max").unwrap_or_default() != global {
                let name = qube.name.clone();
                self.fire_preload(&name, reason);
            }
        }
    }

    /// R39, R40.
    pub(super) fn preload_if_room(&mut self, template: &QubeName, reason: &str) {
        let Some(qube) = self.get(template).filter(|qube| qube.is_template_for_dispvms()) else { return };
        let present = members(qube.feature("preload-dispvm").unwrap_or_default()).len();
        if present < self.preload_max(template) {
            self.fire_preload(template, reason);
        }
    }

    /// The event that makes the keeper look at a template.
    pub(crate) fn fire_preload(&mut self, template: &QubeName, reason: &str) {
        self.fire(Event::new(template.as_str(), "domain-preload-dispvm-start").with("reason", reason));
    }

    /// Takes a qube out of its template's list, if it is in it (R17, R32).
    pub(super) fn take_from_list(&mut self, name: &QubeName) {
        let Some(template) = self.get(name).filter(|qube| self.is_preload(qube)).and_then(Qube::template)
        else {
            return;
        };
        let list = self.get(&template).and_then(|qube| qube.feature("preload-dispvm")).unwrap_or_default();
        let shorter: Vec<&str> =
            members(list).into_iter().filter(|member| *member != name.as_str()).collect();
        let shorter = shorter.join(" ");
        if let Err(refusal) =
            self.set_feature(&QubeName::dom0(), &template, "preload-dispvm", shorter.as_bytes())
        {
            log::error!("take {name} from the list of {template}: {refusal}");
        }
    }
}
