//! New qubes, and qubes that go (spec/admin-api.md 4.5, spec/disposables.md R3, R4, R9 to R14, R32).

use super::properties::Access;
use super::set::not_a_disposable_template;
use super::{Qube, Refusal, Store, labels, property_specs};
use admin::protocol::Event;
use admin::{ErrorClass, PowerState, QubeClass};
use names::{QubeName, Uuid};

/// Chance and time, passed in so that the store stays pure.
#[derive(Debug)]
pub struct Fresh<R: FnMut() -> u16> {
    /// A UUID that no qube has had.
    pub uuid: Uuid,
    /// Gives random numbers below [`crate::dispid::COUNT`].
    pub random: R,
    /// A monotonic clock in seconds.
    pub now: u64,
}

/// What a new qube shall be.
#[derive(Debug, Clone)]
pub struct NewQube {
    /// Its name.
    pub name: QubeName,
    /// Its label.
    pub label: String,
    /// Its template; the default one when `None`.
    pub template: Option<QubeName>,
    /// Its class.
    pub class: QubeClass,
}

impl Store {
    /// A new unnamed disposable of this template, removed as soon as it ends (R14).
    ///
    /// # Errors
    /// The template is none for disposables, or no number is free.
    pub fn create_disposable<R: FnMut() -> u16>(
        &mut self,
        template: &QubeName,
        fresh: Fresh<R>,
    ) -> Result<QubeName, Refusal> {
        if !self.qube(template)?.is_template_for_dispvms() {
            return Err(Refusal::general(
                "Refusing to create disposable out of app qube which has template_for_dispvms=False",
            ));
        }
        let dispid = self.draw(fresh.random, fresh.now)?;
        let name: QubeName = format!("disp{dispid}")
            .parse()
            .map_err(|error: names::NameError| Refusal::general(error.to_string()))?;
        self.add_disposable(&name, template, dispid, fresh.uuid)?;
        self.qube_mut(&name)?.properties.insert("auto_cleanup".into(), "True".into());
        self.added(&name);
        Ok(name)
    }

    /// A new qube of class AppVM, DispVM (a named one) or TemplateVM.
    ///
    /// # Errors
    /// The name is taken, or the template is not fit.
    pub fn create_qube<R: FnMut() -> u16>(&mut self, new: &NewQube, fresh: Fresh<R>) -> Result<(), Refusal> {
        if self.get(&new.name).is_some() {
            let message = format!("Qube already exists: {}", new.name);
            return Err(Refusal::new(ErrorClass::QubesVMAlreadyExistsError, message));
        }
        if labels::color(&new.label).is_none() {
            let message = format!("Label does not exist: {}", new.label);
            return Err(Refusal::new(ErrorClass::QubesLabelNotFoundError, message));
        }
        match new.class {
            QubeClass::DispVM => {
                let template = self.template_or(new, "default_dispvm")?;
                if !self.qube(&template)?.is_template_for_dispvms() {
                    return Err(not_a_disposable_template(template.as_str()));
                }
                let dispid = self.draw(fresh.random, fresh.now)?;
                self.add_disposable(&new.name, &template, dispid, fresh.uuid)?;
            }
            QubeClass::AppVM => {
                let template = self.template_or(new, "default_template")?;
                self.check_class("template", template.as_str(), QubeClass::TemplateVM)?;
                let mut qube = Qube::new(new.name.clone(), fresh.uuid, QubeClass::AppVM);
                qube.properties.insert("template".into(), template.to_string());
                self.insert(qube)?;
            }
            QubeClass::TemplateVM => {
                self.insert(Qube::new(new.name.clone(), fresh.uuid, QubeClass::TemplateVM))?;
            }
            class => {
                let message = format!("this host has no qubes of class {class}");
                return Err(Refusal::new(ErrorClass::QubesNotImplementedError, message));
            }
        }
        self.qube_mut(&new.name)?.properties.insert("label".into(), new.label.clone());
        self.added(&new.name);
        Ok(())
    }

    /// Removes a halted qube from the store. Nothing is checked but that: the caller decides.
    pub fn remove(&mut self, name: &QubeName, now: u64) {
        self.take_from_list(name);
        self.fire(Event::new("", "domain-pre-delete").with("vm", name.as_str()));
        let Some(qube) = self.qubes.remove(name) else { return };
        if let Some(dispid) = qube.dispid() {
            self.recent.removed(dispid, now);
        }
        self.info_revision += 1;
        self.unsaved |= qube.is_saved();
        self.fire(Event::new("", "domain-delete").with("vm", name.as_str()));
    }

    /// Whether a qube may be removed (spec/admin-api.md 4.5). Preloaded disposables do not hold their template (R108).
    ///
    /// # Errors
    /// It may not; why.
    pub fn check_remove(&self, name: &QubeName) -> Result<(), Refusal> {
        let qube = self.qube(name)?;
        if qube.class == QubeClass::AdminVM {
            return Err(Refusal::new(ErrorClass::QubesVMInUseError, "'dom0' cannot be removed"));
        }
        if qube.runtime.state != PowerState::Halted {
            return Err(Refusal::not_halted(name));
        }
        let by_system =
            self.system_properties().find(|property| self.system_value(property) == name.as_str());
        let by = match by_system {
            Some(property) => Some(format!("it is the system's {property}")),
            None => self.user_of_disposable_template(name).or_else(|| {
                let uses = |qube: &Qube, property: &str| self.text(qube, property) == name.as_str();
                let others = || self.iter().filter(|qube| qube.name != *name && !self.is_preload(qube));
                ["audiovm", "guivm", "netvm"].into_iter().find_map(|property| {
                    let user = others().find(|qube| uses(qube, property))?;
                    Some(format!("it is the {property} of {}", user.name))
                })
            }),
        };
        match by {
            Some(by) => Err(Refusal::in_use(name, &by)),
            None => Ok(()),
        }
    }

    fn template_or(&self, new: &NewQube, system_property: &str) -> Result<QubeName, Refusal> {
        match &new.template {
            Some(template) => Ok(self.qube(template)?.name.clone()),
            None => self.system_value(system_property).parse().map_err(|_| {
                Refusal::value(format!("no template given, and the system has no {system_property}"))
            }),
        }
    }

    fn draw(&self, random: impl FnMut() -> u16, now: u64) -> Result<u16, Refusal> {
        let is_present = |id| self.iter().any(|qube| qube.dispid() == Some(id));
        let drawn = self.recent.draw(random, now, is_present).ok_or_else(|| {
            Refusal::general("no number for a new disposable is free; too many exist or existed lately")
        })?;
        if let Some(seconds) = drawn.reused_after {
            log::debug!("Reused dispID {} after {} hours", drawn.id, seconds / 3600);
        }
        Ok(drawn.id)
    }

    /// R4: everything that was set on the template and may be cloned, all features but those of preloading, all tags.
    fn add_disposable(
        &mut self,
        name: &QubeName,
        template: &QubeName,
        dispid: u16,
        uuid: Uuid,
    ) -> Result<(), Refusal> {
        let template = self.qube(template)?;
        let mut qube = Qube::new(name.clone(), uuid, QubeClass::DispVM);
        for spec in property_specs(QubeClass::DispVM).filter(|spec| spec.access == Access::Free) {
            if let Some(value) = template.properties.get(spec.name) {
                qube.properties.insert(spec.name.to_owned(), value.clone());
            }
        }
        let cloned = template.features.iter().filter(|(feature, _)| !feature.starts_with("preload-dispvm"));
        qube.features = cloned.map(|(feature, value)| (feature.clone(), value.clone())).collect();
        qube.tags = template.tags.clone();
        qube.properties.insert("template".into(), template.name.to_string());
        qube.properties.insert("dispid".into(), dispid.to_string());
        self.insert(qube)
    }

    fn insert(&mut self, qube: Qube) -> Result<(), Refusal> {
        if self.get(&qube.name).is_some() || !self.uuid_is_free(qube.uuid) {
            let message = format!("Qube already exists: {}", qube.name);
            return Err(Refusal::new(ErrorClass::QubesVMAlreadyExistsError, message));
        }
        self.qubes.insert(qube.name.clone(), qube);
        Ok(())
    }

    fn added(&mut self, name: &QubeName) {
        self.changed(name);
        self.fire(Event::new("", "domain-add").with("vm", name.as_str()));
    }
}
