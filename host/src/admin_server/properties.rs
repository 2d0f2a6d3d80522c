//! Properties of qubes and of the system (spec/admin-api.md 4.2).

use super::{Answer, Ask};
use crate::dom0::Dom0;
use crate::store::{Refusal, property_specs};
use admin::Property;
use std::sync::Arc;

pub(super) fn list(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| {
        let class = store.qube(&ask.dest)?.class;
        Ok(property_specs(class).map(|spec| format!("{}\n", spec.name)).collect::<String>().into_bytes())
    })
}

pub(super) fn get(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| Ok(store.property(store.qube(&ask.dest)?, ask.arg)?.to_string().into_bytes()))
}

pub(super) fn get_all(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| {
        let qube = store.qube(&ask.dest)?;
        let lines = property_specs(qube.class)
            .filter_map(|spec| Some(line(spec.name, &store.property(qube, spec.name).ok()?)));
        Ok(lines.collect::<String>().into_bytes())
    })
}

pub(super) fn get_default(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| {
        let default = store.property_default(store.qube(&ask.dest)?, ask.arg)?;
        Ok(default.as_ref().map(default_text).unwrap_or_default().into_bytes())
    })
}

pub(super) fn set(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.change(|store| store.set_property(&ask.dest, ask.arg, ask.payload))?;
    Ok(Vec::new())
}

pub(super) fn reset(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.change(|store| store.reset_property(&ask.dest, ask.arg))?;
    Ok(Vec::new())
}

pub(super) fn help(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| Ok(store.property_spec(store.qube(&ask.dest)?, ask.arg)?.help.as_bytes().to_vec()))
}

pub(super) fn system_list(dom0: &Arc<Dom0>, _: &Ask<'_>) -> Answer {
    Ok(dom0
        .read(|store| store.system_properties().map(|name| format!("{name}\n")).collect::<String>())
        .into_bytes())
}

pub(super) fn system_get(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    Ok(dom0.read(|store| store.system_property(ask.arg))?.to_string().into_bytes())
}

pub(super) fn system_get_all(dom0: &Arc<Dom0>, _: &Ask<'_>) -> Answer {
    let text: String = dom0.read(|store| {
        let lines =
            store.system_properties().filter_map(|name| Some(line(name, &store.system_property(name).ok()?)));
        lines.collect()
    });
    Ok(text.into_bytes())
}

pub(super) fn system_get_default(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    let default = dom0.read(|store| store.system_default(ask.arg))?;
    Ok(default_text(&default).into_bytes())
}

pub(super) fn system_set(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.change(|store| store.set_system_property(ask.arg, ask.payload))?;
    Ok(Vec::new())
}

pub(super) fn system_reset(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.change(|store| store.reset_system_property(ask.arg))?;
    Ok(Vec::new())
}

pub(super) fn system_help(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| store.system_property(ask.arg).map(drop))?;
    Ok::<_, Refusal>(format!("{} of the system, for qubes that have none of their own", ask.arg).into_bytes())
}

fn line(name: &str, property: &Property) -> String {
    let text = property.to_string().replace('\\', "\\\\").replace('\n', "\\n");
    format!("{name} {text}\n")
}

fn default_text(property: &Property) -> String {
    format!("type={} {}", property.kind.as_str(), property.value)
}
