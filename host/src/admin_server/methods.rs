//! The table of methods and what each needs.

use super::{Answer, Ask, Socket, creating, features, labels, listing, properties, running, tags, volumes};
use crate::dom0::Dom0;
use std::sync::Arc;

/// Whether something must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Yes,
    No,
    Maybe,
}

/// Which destinations a method has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Any,
    Dom0,
    Qube,
}

/// One method.
pub(super) struct Method {
    pub(super) name: &'static str,
    pub(super) dest: Place,
    pub(super) arg: Need,
    pub(super) payload: Need,
    pub(super) run: fn(&Arc<Dom0>, &Ask<'_>) -> Answer,
}

pub(super) fn find(socket: Socket, name: &str) -> Option<&'static Method> {
    let table = match socket {
        Socket::Public => PUBLIC,
        Socket::Internal => INTERNAL,
    };
    table.iter().find(|method| method.name == name)
}

const fn method(
    name: &'static str,
    dest: Place,
    arg: Need,
    payload: Need,
    run: fn(&Arc<Dom0>, &Ask<'_>) -> Answer,
) -> Method {
    Method { name, dest, arg, payload, run }
}

use Need::{Maybe, No, Yes};
use Place::{Any, Dom0 as OnlyDom0, Qube};

const INTERNAL: &[Method] = &[method("internal.GetSystemInfo", OnlyDom0, No, No, listing::system_info)];

const PUBLIC: &[Method] = &[
    method("admin.vm.List", Any, No, No, listing::list),
    method("admin.vmclass.List", OnlyDom0, No, No, listing::classes),
    method("admin.label.List", OnlyDom0, No, No, labels::list),
    method("admin.label.Get", OnlyDom0, Yes, No, labels::color),
    method("admin.label.Index", OnlyDom0, Yes, No, labels::number),
    method("admin.vm.CurrentState", Any, No, No, listing::current_state),
    method("admin.vm.property.List", Any, No, No, properties::list),
    method("admin.vm.property.Get", Any, Yes, No, properties::get),
    method("admin.vm.property.GetAll", Any, No, No, properties::get_all),
    method("admin.vm.property.GetDefault", Any, Yes, No, properties::get_default),
    method("admin.vm.property.Set", Any, Yes, Maybe, properties::set),
    method("admin.vm.property.Reset", Any, Yes, No, properties::reset),
    method("admin.vm.property.Help", Any, Yes, No, properties::help),
    method("admin.property.List", OnlyDom0, No, No, properties::system_list),
    method("admin.property.Get", OnlyDom0, Yes, No, properties::system_get),
    method("admin.property.GetAll", OnlyDom0, No, No, properties::system_get_all),
    method("admin.property.GetDefault", OnlyDom0, Yes, No, properties::system_get_default),
    method("admin.property.Set", OnlyDom0, Yes, Maybe, properties::system_set),
    method("admin.property.Reset", OnlyDom0, Yes, No, properties::system_reset),
    method("admin.property.Help", OnlyDom0, Yes, No, properties::system_help),
    method("admin.vm.feature.List", Any, No, No, features::list),
    method("admin.vm.feature.Get", Any, Yes, No, features::get),
    method("admin.vm.feature.CheckWithTemplate", Any, Yes, No, features::check_with_template),
    method("admin.vm.feature.CheckWithNetvm", Any, Yes, No, features::get),
    method("admin.vm.feature.CheckWithAdminVM", Any, Yes, No, features::check_with_dom0),
    method(
        "admin.vm.feature.CheckWithTemplateAndAdminVM",
        Any,
        Yes,
        No,
        features::check_with_template_and_dom0,
    ),
    method("admin.vm.feature.Set", Any, Yes, Maybe, features::set),
    method("admin.vm.feature.Remove", Any, Yes, No, features::remove),
    method("admin.vm.tag.List", Any, No, No, tags::list),
    method("admin.vm.tag.Get", Any, Yes, No, tags::get),
    method("admin.vm.tag.Set", Any, Yes, No, tags::set),
    method("admin.vm.tag.Remove", Any, Yes, No, tags::remove),
    method("admin.vm.volume.List", Any, No, No, volumes::list),
    method("admin.vm.volume.Info", Any, Yes, No, volumes::info),
    method("admin.vm.Create.AppVM", OnlyDom0, Maybe, Yes, creating::app),
    method("admin.vm.Create.DispVM", OnlyDom0, Maybe, Yes, creating::disposable),
    method("admin.vm.Create.TemplateVM", OnlyDom0, Maybe, Yes, creating::template),
    method("admin.vm.Create.StandaloneVM", OnlyDom0, Maybe, Yes, creating::unknown),
    method("admin.vm.Create.RemoteVM", OnlyDom0, Maybe, Yes, creating::unknown),
    method("admin.vm.Create.AdminVM", OnlyDom0, Maybe, Yes, creating::unknown),
    method("admin.vm.CreateDisposable", Any, Maybe, Maybe, creating::create_disposable),
    method("admin.vm.Remove", Any, No, No, creating::remove),
    method("admin.vm.Start", Any, No, No, running::start),
    method("admin.vm.Shutdown", Any, Maybe, No, running::shutdown),
    method("admin.vm.Pause", Qube, No, No, running::pause),
    method("admin.vm.Unpause", Qube, No, No, running::unpause),
    method("admin.vm.Resume", Qube, No, No, running::unpause),
    method("admin.vm.Kill", Any, No, No, running::kill),
];
