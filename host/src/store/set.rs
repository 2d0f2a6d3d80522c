//! Changes of properties (spec/admin-api.md 4.2, spec/disposables.md R5, R48, R49).

use super::properties::{Access, PropertySpec};
use super::{Qube, Refusal, Store, labels};
use admin::protocol::Event;
use admin::{ErrorClass, PowerState, PropertyType, QubeClass};
use names::QubeName;

impl Store {
    /// Sets a property of a qube to bytes as they came.
    ///
    /// # Errors
    /// Unknown property, bad value, or not now.
    pub fn set_property(&mut self, name: &QubeName, property: &str, value: &[u8]) -> Result<(), Refusal> {
        let qube = self.qube(name)?;
        let spec = self.property_spec(qube, property)?;
        self.refuse_fixed(qube, spec)?;
        let value = check_value(self, spec.name, spec.kind, value)?;
        let old = self.text(qube, spec.name);
        let event = Event::new(name.as_str(), "")
            .with("name", spec.name)
            .with("newvalue", or_none(spec.name, &value))
            .with("oldvalue", or_none(spec.name, &old));
        self.fire(Event { name: format!("property-pre-set:{property}"), ..event.clone() });
        self.check_change(name, spec, &value)?;
        self.qube_mut(name)?.properties.insert(spec.name.to_owned(), value.clone());
        self.changed(name);
        self.after_change(name, spec.name, &value);
        self.fire(Event { name: format!("property-set:{property}"), ..event });
        Ok(())
    }

    /// Back to the default.
    ///
    /// # Errors
    /// Unknown property, no default, or not now.
    pub fn reset_property(&mut self, name: &QubeName, property: &str) -> Result<(), Refusal> {
        let qube = self.qube(name)?;
        let spec = self.property_spec(qube, property)?;
        self.refuse_fixed(qube, spec)?;
        let old = self.text(qube, spec.name);
        let event =
            Event::new(name.as_str(), "").with("name", spec.name).with("oldvalue", or_none(spec.name, &old));
        self.fire(Event { name: format!("property-pre-reset:{property}"), ..event.clone() });
        let default = self.property_default(self.qube(name)?, spec.name)?;
        let Some(default) = default else { return Err(Refusal::value(format!("Cannot unset {property}"))) };
        self.check_change(name, spec, &default.value)?;
        // An auto_cleanup disposable that is reset becomes one that the file holds.
        self.qube_mut(name)?.properties.remove(spec.name);
        self.changed(name);
        self.after_change(name, spec.name, &default.value);
        self.fire(Event { name: format!("property-reset:{property}"), ..event });
        Ok(())
    }

    fn refuse_fixed(&self, qube: &Qube, spec: &PropertySpec) -> Result<(), Refusal> {
        let reason = match spec.access {
            Access::Free => return Ok(()),
            Access::Once => "is given once, when the qube is created",
            Access::Computed => "cannot be set",
        };
        let message = format!("property '{}' of {} {reason}", spec.name, qube.name);
        Err(Refusal::new(ErrorClass::QubesPropertyValueError, message))
    }

    fn check_change(&self, name: &QubeName, spec: &PropertySpec, value: &str) -> Result<(), Refusal> {
        let qube = self.qube(name)?;
        match spec.name {
            "default_dispvm" => self.check_default_dispvm(value, &format!("qube '{name}'")),
            "template_for_dispvms" if value == "False" && qube.is_template_for_dispvms() => {
                match self.user_of_disposable_template(name) {
                    Some(by) => Err(Refusal::in_use(name, &by)),
                    None => Ok(()),
                }
            }
            "template" => self.check_template(qube, value),
            _ => Ok(()),
        }
    }

    fn check_template(&self, qube: &Qube, value: &str) -> Result<(), Refusal> {
        if qube.runtime.state != PowerState::Halted {
            let message = "Cannot change template while qube is running";
            return Err(Refusal::new(ErrorClass::QubesVMNotHaltedError, message));
        }
        if qube.class == QubeClass::DispVM {
            let template = value.parse().ok().and_then(|template: QubeName| self.get(&template));
            return match template {
                Some(template) if template.is_template_for_dispvms() => Ok(()),
                _ => Err(not_a_disposable_template(value)),
            };
        }
        self.check_class("template", value, QubeClass::TemplateVM)?;
        let busy = self.iter().any(|other| {
            other.template().as_ref() == Some(&qube.name)
                && other.runtime.state != PowerState::Halted
                && !self.is_preload(other)
        });
        if busy {
            return Err(Refusal::in_use(&qube.name, "disposables of it are running"));
        }
        Ok(())
    }

    pub(super) fn check_class(&self, property: &str, value: &str, class: QubeClass) -> Result<(), Refusal> {
        let found = value.parse().ok().and_then(|name: QubeName| self.get(&name));
        if found.is_some_and(|qube| qube.class == class) {
            return Ok(());
        }
        let message = format!("Invalid value '{value}' for property '{property}': not a {class}");
        Err(Refusal::new(ErrorClass::QubesPropertyValueError, message))
    }

    pub(super) fn check_default_dispvm(&self, value: &str, holder: &str) -> Result<(), Refusal> {
        let Some(name) = value.parse::<QubeName>().ok().filter(|_| !value.is_empty()) else { return Ok(()) };
        if self.get(&name).is_some_and(Qube::is_template_for_dispvms) {
            return Ok(());
        }
        let holder = if holder == "system" { "system".to_owned() } else { holder.to_owned() };
        Err(Refusal::new(
            ErrorClass::QubesPropertyValueError,
            format!(
                "Cannot set invalid property to {holder}, default_dispvm '{name}' has template_for_dispvms set to False"
            ),
        ))
    }

    /// Who uses a qube as a template of disposables, as half a sentence (R48).
    pub(super) fn user_of_disposable_template(&self, name: &QubeName) -> Option<String> {
        if self.default_dispvm().as_ref() == Some(name) {
            return Some("it is the system's default_dispvm".into());
        }
        self.iter()
            .filter(|qube| qube.name != *name && !self.is_preload(qube))
            .find(|qube| {
                ["default_dispvm", "template"].iter().any(|property| {
                    qube.properties.get(*property).is_some_and(|value| value == name.as_str())
                })
            })
            .map(|qube| format!("{} is made from it or has it as default_dispvm", qube.name))
    }

    fn after_change(&mut self, name: &QubeName, property: &str, value: &str) {
        match (property, value) {
            ("template_for_dispvms", "True") => {
                self.preload_if_room(name, "template_for_dispvms was set to True");
            }
            ("template", _) => self.preload_if_room(name, "template has changed"),
            _ => {}
        }
    }
}

/// `QubesValueError` of R3.
pub(super) fn not_a_disposable_template(template: &str) -> Refusal {
    Refusal::value(format!(
        "template for disposable ({template}) needs to be an AppVM with template_for_dispvms=True"
    ))
}

/// How events show a value: nothing is `None`.
pub(super) fn or_none<'a>(property: &str, value: &'a str) -> &'a str {
    let is_vm = matches!(
        property,
        "audiovm" | "default_dispvm" | "default_template" | "guivm" | "netvm" | "template"
    );
    if is_vm && value.is_empty() { "None" } else { value }
}

/// Brings bytes into the canonical text of a type.
pub(super) fn check_value(
    store: &Store,
    property: &str,
    kind: PropertyType,
    value: &[u8],
) -> Result<String, Refusal> {
    if !value.is_ascii() {
        return Err(Refusal::value("Property value contains non-ASCII characters"));
    }
    if !value.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Err(Refusal::value("Property value contains control characters"));
    }
    let text = String::from_utf8_lossy(value).into_owned();
    match kind {
        PropertyType::Int => match text.trim().parse::<i64>() {
            Ok(number) if number >= 0 => Ok(number.to_string()),
            Ok(_) => Err(invalid(property, &text, "not negative")),
            Err(_) => Err(Refusal::value("Failed to parse property value as int")),
        },
        PropertyType::Bool => match text.to_ascii_lowercase().as_str() {
            "1" | "yes" | "true" | "on" => Ok("True".into()),
            "0" | "no" | "false" | "off" => Ok("False".into()),
            _ => Err(Refusal::value(format!("Invalid literal for boolean property: '{text}'"))),
        },
        PropertyType::Label => match labels::color(&text) {
            Some(_) => Ok(text),
            None => {
                let message = format!("Label does not exist: {text}");
                Err(Refusal::new(ErrorClass::QubesLabelNotFoundError, message))
            }
        },
        PropertyType::Str if property == "default_user" => match text.parse::<names::UserName>() {
            Ok(user) => Ok(user.to_string()),
            Err(_) => Err(invalid(property, &text, "not a user name")),
        },
        PropertyType::Str => Ok(text),
        PropertyType::Vm if text.is_empty() => match property {
            "template" => Err(invalid(property, "None", "it cannot be empty")),
            _ => Ok(text),
        },
        PropertyType::Vm => {
            let name: QubeName =
                text.parse().map_err(|_| Refusal::value(format!("invalid VM name: '{text}'")))?;
            if store.get(&name).is_none() {
                let message = format!("Can't set {property} to non-existing qube {name}");
                return Err(Refusal::new(ErrorClass::QubesPropertyValueError, message));
            }
            Ok(text)
        }
    }
}

fn invalid(property: &str, value: &str, why: &str) -> Refusal {
    let message = format!("Invalid value '{value}' for property '{property}': {why}");
    Refusal::new(ErrorClass::QubesPropertyValueError, message)
}
