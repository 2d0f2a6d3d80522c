//! Starts and ends (spec/admin-api.md 4.6).

use super::{Answer, Ask};
use crate::dom0::Dom0;
use crate::store::Refusal;
use std::sync::Arc;

pub(super) fn start(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.start(&ask.dest)?;
    Ok(Vec::new())
}

pub(super) fn shutdown(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    let (mut force, mut wait) = (false, false);
    for word in ask.arg.split('+').filter(|_| !ask.arg.is_empty()) {
        match word {
            "force" => force = true,
            "wait" => wait = true,
            _ => return Err(Refusal::protocol("Argument must match: force, wait")),
        }
    }
    dom0.shutdown(&ask.dest, force, wait)?;
    Ok(Vec::new())
}

pub(super) fn pause(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.pause(&ask.dest)?;
    Ok(Vec::new())
}

pub(super) fn unpause(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.unpause(&ask.dest)?;
    Ok(Vec::new())
}

pub(super) fn kill(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    dom0.kill(&ask.dest)?;
    Ok(Vec::new())
}
