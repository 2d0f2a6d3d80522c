//! Which properties a qube has, and what they are when nobody set them (spec/admin-api.md 4.2,
//! spec/disposables.md R1). Only properties that mean something here are offered.

use super::{Qube, Refusal, Store};
use admin::{Property, PropertyType, QubeClass};

/// How a property can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Set and reset at will.
    Free,
    /// Given at creation.
    Once,
    /// Follows from something else.
    Computed,
}

/// One property.
#[derive(Debug, Clone, Copy)]
pub struct PropertySpec {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: PropertyType,
    pub(super) access: Access,
    classes: &'static [QubeClass],
    /// Half a sentence for a person.
    pub help: &'static str,
}

use PropertyType::{Bool, Int, Label, Str, Vm};
use QubeClass::{AdminVM, AppVM, DispVM, TemplateVM};

const ALL: &[QubeClass] = &[AdminVM, TemplateVM, AppVM, DispVM];
const GUESTS: &[QubeClass] = &[TemplateVM, AppVM, DispVM];

const fn property(
    name: &'static str,
    kind: PropertyType,
    access: Access,
    classes: &'static [QubeClass],
    help: &'static str,
) -> PropertySpec {
    PropertySpec { name, kind, access, classes, help }
}

/// Sorted by name.
const PROPERTIES: &[PropertySpec] = &[
    property(
        "audiovm",
        Vm,
        Access::Free,
        GUESTS,
        "qube that plays this one's sound; on this host only kept and told",
    ),
    property("auto_cleanup", Bool, Access::Free, &[DispVM], "remove the disposable as soon as it ends"),
    property("autostart", Bool, Access::Free, GUESTS, "start the qube with the host"),
    property(
        "debug",
        Bool,
        Access::Free,
        GUESTS,
        "for who looks into the qube; on this host only kept and told",
    ),
    property("default_dispvm", Vm, Access::Free, ALL, "template of the disposables that this qube asks for"),
    property("default_user", Str, Access::Free, GUESTS, "user that services run as"),
    property("dispid", Int, Access::Once, &[DispVM], "number of the disposable"),
    property(
        "guivm",
        Vm,
        Access::Free,
        ALL,
        "qube that draws this one's windows; on this host only kept and told",
    ),
    property("icon", Str, Access::Computed, ALL, "icon of the qube, from class and label"),
    property("is_preload", Bool, Access::Computed, &[DispVM], "waits in the queue, not used yet"),
    property(
        "keyboard_layout",
        Str,
        Access::Free,
        ALL,
        "layout+variant+options; on this host only kept and told",
    ),
    property("klass", Str, Access::Computed, ALL, "class of the qube"),
    property("label", Label, Access::Free, ALL, "colour of the qube"),
    property("maxmem", Int, Access::Free, GUESTS, "memory that balancing may give, in MiB; 0 for none of it"),
    property("memory", Int, Access::Free, GUESTS, "memory counted for one start, in MiB"),
    property("name", Str, Access::Once, ALL, "name of the qube"),
    property("netvm", Vm, Access::Free, GUESTS, "qube that gives network; on this host only kept and told"),
    property("qrexec_timeout", Int, Access::Free, GUESTS, "seconds that a start may take"),
    property("shutdown_timeout", Int, Access::Free, GUESTS, "seconds that a shutdown may take"),
    property("start_time", Str, Access::Computed, GUESTS, "seconds since 1970 of the last start"),
    property(
        "stubdom_xid",
        Int,
        Access::Computed,
        GUESTS,
        "domain id of the device model, which no qube has here",
    ),
    property("template", Vm, Access::Free, &[AppVM, DispVM], "qube that this one is made from"),
    property("template_for_dispvms", Bool, Access::Free, &[AppVM], "disposables may be made from this qube"),
    property("uuid", Str, Access::Once, ALL, "identity of the qube"),
    property("virt_mode", Str, Access::Computed, GUESTS, "how the qube is run: none has a device model here"),
    property("xid", Int, Access::Computed, ALL, "domain id, -1 when halted"),
];

/// The properties of a class, sorted by name.
pub fn property_specs(class: QubeClass) -> impl Iterator<Item = &'static PropertySpec> {
    PROPERTIES.iter().filter(move |spec| spec.classes.contains(&class))
}

impl Store {
    /// The description of a property that this qube has.
    ///
    /// # Errors
    /// `QubesNoSuchPropertyError`.
    pub fn property_spec(&self, qube: &Qube, name: &str) -> Result<&'static PropertySpec, Refusal> {
        property_specs(qube.class)
            .find(|spec| spec.name == name)
            .ok_or_else(|| Refusal::no_such_property(name, &qube.name))
    }

    /// The value of a property.
    ///
    /// # Errors
    /// `QubesNoSuchPropertyError`.
    pub fn property(&self, qube: &Qube, name: &str) -> Result<Property, Refusal> {
        let spec = self.property_spec(qube, name)?;
        Ok(match qube.properties.get(name) {
            Some(value) => Property { is_default: false, kind: spec.kind, value: value.clone() },
            None => {
                let (is_default, value) = match spec.access {
                    Access::Free => (true, self.default(qube, spec).unwrap_or_default()),
                    Access::Once => (false, self.given(qube, name)),
                    Access::Computed => (true, self.computed(qube, name)),
                };
                Property { is_default, kind: spec.kind, value }
            }
        })
    }

    /// The default of a property; `None` when it has none.
    ///
    /// # Errors
    /// `QubesNoSuchPropertyError`.
    pub fn property_default(&self, qube: &Qube, name: &str) -> Result<Option<Property>, Refusal> {
        let spec = self.property_spec(qube, name)?;
        let value = if spec.access == Access::Free { self.default(qube, spec) } else { None };
        Ok(value.map(|value| Property { is_default: true, kind: spec.kind, value }))
    }

    /// The value in force as text; empty when there is no such property.
    pub(crate) fn text(&self, qube: &Qube, name: &str) -> String {
        self.property(qube, name).map(|property| property.value).unwrap_or_default()
    }

    fn default(&self, qube: &Qube, spec: &PropertySpec) -> Option<String> {
        match spec.name {
            "auto_cleanup" | "autostart" | "debug" | "template_for_dispvms" => Some("False".into()),
            // A disposable's default is its own template (R1, promise P8); the others follow the system.
            "default_dispvm" if qube.class == DispVM => {
                Some(qube.template().map(|name| name.to_string()).unwrap_or_default())
            }
            "default_dispvm" => Some(self.system_value("default_dispvm")),
            "label" => Some(if qube.class == AdminVM { "black" } else { "red" }.into()),
            "template" => None,
            // The rest is read through the template (R4).
            name => match qube.template().and_then(|template| self.get(&template)) {
                Some(template) => self.property(template, name).ok().map(|property| property.value),
                None => self.last_default(name),
            },
        }
    }

    fn last_default(&self, name: &str) -> Option<String> {
        match name {
            "default_user" => Some("user".into()),
            "audiovm" | "guivm" | "netvm" => Some(String::new()),
            "keyboard_layout" => Some("us++".into()),
            "maxmem" => Some("0".into()),
            "memory" => Some("400".into()),
            "qrexec_timeout" => Some(self.system_value("default_qrexec_timeout")),
            "shutdown_timeout" => Some(self.system_value("default_shutdown_timeout")),
            _ => None,
        }
    }

    fn given(&self, qube: &Qube, name: &str) -> String {
        match name {
            "name" => qube.name.to_string(),
            "uuid" => qube.uuid.to_string(),
            _ => String::new(),
        }
    }

    /// The qubes that start with the host, in the order of their names.
    pub(crate) fn autostarted(&self) -> impl Iterator<Item = &Qube> {
        self.iter().filter(|qube| self.text(qube, "autostart") == "True")
    }

    fn computed(&self, qube: &Qube, name: &str) -> String {
        match name {
            "icon" => {
                let class = match qube.class {
                    AdminVM => "adminvm",
                    TemplateVM => "templatevm",
                    DispVM => "dispvm",
                    _ if qube.is_template_for_dispvms() => "dispvm",
                    _ => "appvm",
                };
                format!("{class}-{}", self.text(qube, "label"))
            }
            "is_preload" => if self.is_preload(qube) { "True" } else { "False" }.into(),
            "klass" => qube.class.to_string(),
            "start_time" => qube.runtime.started_at.map(|at| at.to_string()).unwrap_or_default(),
            "stubdom_xid" => "-1".into(),
            "virt_mode" => "pv".into(),
            "xid" => qube.runtime.domid.map_or_else(|| "-1".into(), |domid| domid.to_string()),
            _ => String::new(),
        }
    }

    /// Whether a disposable waits in its template's list (R27).
    #[must_use]
    pub fn is_preload(&self, qube: &Qube) -> bool {
        let list = qube.template().and_then(|template| self.get(&template)?.feature("preload-dispvm"));
        qube.class == DispVM
            && list.is_some_and(|list| list.split(' ').any(|name| name == qube.name.as_str()))
    }
}
