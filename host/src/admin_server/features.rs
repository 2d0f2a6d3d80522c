//! Features (spec/admin-api.md 4.3).

use super::{Answer, Ask};
use crate::dom0::Dom0;
use crate::store::{Store, no_feature};
use names::QubeName;
use std::sync::Arc;

pub(super) fn list(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| {
        let names = store.qube(&ask.dest)?.features().map(|(name, _)| format!("{name}\n"));
        Ok(names.collect::<String>().into_bytes())
    })
}

/// Also the answer along the chain of netvms, of which there are none here.
pub(super) fn get(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    find(dom0, ask, |store| store.get(&ask.dest)?.feature(ask.arg))
}

pub(super) fn check_with_template(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    find(dom0, ask, |store| store.feature_with_template(&ask.dest, ask.arg))
}

pub(super) fn check_with_dom0(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    find(dom0, ask, |store| store.get(&ask.dest)?.feature(ask.arg).or_else(|| of_dom0(store, ask.arg)))
}

pub(super) fn check_with_template_and_dom0(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    find(dom0, ask, |store| {
        store.feature_with_template(&ask.dest, ask.arg).or_else(|| of_dom0(store, ask.arg))
    })
}

pub(super) fn set(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.change(|store| store.set_feature(&ask.source, &ask.dest, ask.arg, ask.payload))?;
    Ok(Vec::new())
}

pub(super) fn remove(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.change(|store| store.remove_feature(&ask.source, &ask.dest, ask.arg))?;
    Ok(Vec::new())
}

fn find(dom0: &Arc<Dom0>, ask: &Ask<'_>, look: impl FnOnce(&Store) -> Option<&str>) -> Answer {
    dom0.read(|store| {
        store.qube(&ask.dest)?;
        look(store).map(|value| value.as_bytes().to_vec()).ok_or_else(|| no_feature(&ask.dest, ask.arg))
    })
}

fn of_dom0<'a>(store: &'a Store, feature: &str) -> Option<&'a str> {
    store.get(&QubeName::dom0())?.feature(feature)
}
