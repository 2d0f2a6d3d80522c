//! Properties of the system (`admin.property.*`).

use super::set::{check_value, or_none};
use super::{Refusal, Store};
use admin::protocol::Event;
use admin::{Property, PropertyType};
use names::QubeName;

/// Name, type and default.
const SYSTEM: [(&str, PropertyType, &str); 4] = [
    ("default_dispvm", PropertyType::Vm, ""),
    ("default_qrexec_timeout", PropertyType::Int, "60"),
    ("default_shutdown_timeout", PropertyType::Int, "60"),
    ("default_template", PropertyType::Vm, ""),
];

/// The names, sorted.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SYSTEM.iter().map(|(name, ..)| *name)
}

fn spec(name: &str) -> Result<(&'static str, PropertyType, &'static str), Refusal> {
    SYSTEM
        .iter()
        .find(|(known, ..)| *known == name)
        .copied()
        .ok_or_else(|| Refusal::no_such_property(name, "the system"))
}

impl Store {
    /// The names of the system's properties, sorted.
    pub fn system_properties(&self) -> impl Iterator<Item = &'static str> {
        names()
    }

    /// A property of the system.
    ///
    /// # Errors
    /// `QubesNoSuchPropertyError`.
    pub fn system_property(&self, name: &str) -> Result<Property, Refusal> {
        let (_, kind, default) = spec(name)?;
        let set = self.system.get(name);
        let value = set.cloned().unwrap_or_else(|| default.to_owned());
        Ok(Property { is_default: set.is_none(), kind, value })
    }

    /// The default of a property of the system.
    ///
    /// # Errors
    /// `QubesNoSuchPropertyError`.
    pub fn system_default(&self, name: &str) -> Result<Property, Refusal> {
        let (_, kind, default) = spec(name)?;
        Ok(Property { is_default: true, kind, value: default.to_owned() })
    }

    pub(super) fn system_value(&self, name: &str) -> String {
        self.system_property(name).map(|property| property.value).unwrap_or_default()
    }

    /// The system's default template of disposables.
    #[must_use]
    pub fn default_dispvm(&self) -> Option<QubeName> {
        self.system_value("default_dispvm").parse().ok()
    }

    /// Sets a property of the system.
    ///
    /// # Errors
    /// Unknown name or bad value.
    pub fn set_system_property(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        let (name, kind, _) = spec(name)?;
        let value = check_value(self, name, kind, value)?;
        match name {
            "default_dispvm" => self.check_default_dispvm(&value, "system")?,
            "default_template" => self.check_class(name, &value, admin::QubeClass::TemplateVM)?,
            _ => {}
        }
        self.replace_system(name, Some(value));
        Ok(())
    }

    /// Back to the default.
    ///
    /// # Errors
    /// Unknown name.
    pub fn reset_system_property(&mut self, name: &str) -> Result<(), Refusal> {
        let (name, ..) = spec(name)?;
        self.replace_system(name, None);
        Ok(())
    }

    fn replace_system(&mut self, name: &'static str, value: Option<String>) {
        let old = self.system_value(name);
        let (verb, event) = match &value {
            Some(value) => {
                ("set", Event::new("", "").with("name", name).with("newvalue", or_none(name, value)))
            }
            None => ("reset", Event::new("", "").with("name", name)),
        };
        let event = event.with("oldvalue", or_none(name, &old));
        self.fire(Event { name: format!("property-pre-{verb}:{name}"), ..event.clone() });
        match value {
            Some(value) => self.system.insert(name.to_owned(), value),
            None => self.system.remove(name),
        };
        self.unsaved = true;
        self.info_revision += 1;
        self.inherited(name, &old);
        self.fire(Event { name: format!("property-{verb}:{name}"), ..event });
    }

    /// Qubes that follow the system see their own property change with it; preloading follows the default
    /// (spec/disposables.md R37, R38).
    fn inherited(&mut self, name: &str, old: &str) {
        let own = match name {
            "default_dispvm" => "default_dispvm",
            "default_qrexec_timeout" => "qrexec_timeout",
            "default_shutdown_timeout" => "shutdown_timeout",
            _ => return,
        };
        let followers: Vec<QubeName> = self
            .iter()
            .filter(|qube| self.property(qube, own).is_ok_and(|property| property.is_default))
            .filter(|qube| own != "default_dispvm" || qube.class != admin::QubeClass::DispVM)
            .map(|qube| qube.name.clone())
            .collect();
        for follower in followers {
            self.fire(Event::new(follower.as_str(), &format!("property-reset:{own}")).with("name", own));
        }
        let new = self.system_value(name);
        if name == "default_dispvm" && old != new {
            self.preload_default_moved(old, &new);
        }
    }
}
