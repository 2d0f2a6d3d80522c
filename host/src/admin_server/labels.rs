//! Labels, which cannot be made or removed here.

use super::{Answer, Ask};
use crate::dom0::Dom0;
use crate::store::{Refusal, labels};
use std::sync::Arc;

pub(super) fn list(_: &Arc<Dom0>, _: &Ask<'_>) -> Answer {
    Ok(labels::names().map(|name| format!("{name}\n")).collect::<String>().into_bytes())
}

pub(super) fn color(_: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    labels::color(ask.arg).map(|color| color.as_bytes().to_vec()).ok_or_else(|| unknown(ask))
}

pub(super) fn number(_: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    let place = labels::names().position(|name| name == ask.arg).ok_or_else(|| unknown(ask))?;
    Ok((place + 1).to_string().into_bytes())
}

fn unknown(ask: &Ask<'_>) -> Refusal {
    Refusal::value(format!("no such label: '{}'", ask.arg))
}
