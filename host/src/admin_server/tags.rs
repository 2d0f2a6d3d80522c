//! Tags (spec/admin-api.md 4.4).

use super::{Answer, Ask};
use crate::dom0::Dom0;
use crate::store::Refusal;
use admin::ErrorClass;
use names::Tag;
use std::sync::Arc;

pub(super) fn list(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| {
        Ok(store.qube(&ask.dest)?.tags().map(|tag| format!("{tag}\n")).collect::<String>().into_bytes())
    })
}

pub(super) fn get(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    let tag = tag(ask)?;
    dom0.read(|store| Ok(if store.qube(&ask.dest)?.has_tag(&tag) { b"1".to_vec() } else { b"0".to_vec() }))
}

pub(super) fn set(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    let tag = tag(ask)?;
    dom0.change(|store| store.add_tag(&ask.source, &ask.dest, &tag))?;
    Ok(Vec::new())
}

pub(super) fn remove(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    let tag = tag(ask)?;
    dom0.change(|store| store.remove_tag(&ask.source, &ask.dest, &tag))?;
    Ok(Vec::new())
}

fn tag(ask: &Ask<'_>) -> Result<Tag, Refusal> {
    ask.arg.parse().map_err(|_| {
        Refusal::new(ErrorClass::QubesInvalidTagError, format!("disallowed characters in tag '{}'", ask.arg))
    })
}
