//! Volumes (spec/admin-api.md 4.7): what is there can be seen, not changed.

use super::{Answer, Ask};
use crate::dom0::Dom0;
use crate::store::VOLUMES;
use std::sync::Arc;

pub(super) fn list(_: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    let volumes: &[&str] = if ask.dest.is_dom0() { &[] } else { &VOLUMES };
    Ok(volumes.iter().map(|volume| format!("{volume}\n")).collect::<String>().into_bytes())
}

pub(super) fn info(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.read(|store| store.volume(&ask.dest, ask.arg)).map(String::into_bytes)
}
