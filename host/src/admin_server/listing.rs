//! Lists and states (spec/admin-api.md 4.1).

use super::{Answer, Ask, only_dom0};
use crate::dom0::Dom0;
use admin::{PowerState, QubeClass, QubeLine};
use std::fmt::Write;
use std::sync::Arc;

pub(super) fn list(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    if ask.dest.is_dom0() {
        only_dom0(ask)?;
    }
    let qubes: Vec<QubeLine> = dom0.read(|store| {
        let wanted = store.iter().filter(|qube| ask.dest.is_dom0() || qube.name == ask.dest);
        wanted
            .map(|qube| QubeLine {
                name: qube.name.clone(),
                class: qube.class,
                state: qube.runtime.state,
                uuid: qube.uuid,
            })
            .collect()
    });
    let mut text = String::new();
    for mut line in qubes {
        line.state = dom0.true_state(&line.name, line.state);
        // Writing to a String cannot fail.
        let _: Result<(), std::fmt::Error> = writeln!(text, "{line}");
    }
    Ok(text.into_bytes())
}

pub(super) fn classes(_: &Arc<Dom0>, _: &Ask<'_>) -> Answer {
    let classes = [QubeClass::AdminVM, QubeClass::AppVM, QubeClass::DispVM, QubeClass::TemplateVM];
    Ok(classes.map(|class| format!("{class}\n")).concat().into_bytes())
}

pub(super) fn current_state(dom0: &Arc<Dom0>, ask: &Ask<'_>) -> Answer {
    let (state, memory) = dom0.read(|store| {
        let qube = store.qube(&ask.dest)?;
        let memory: u64 = store.text(qube, "memory").parse().unwrap_or(0);
        Ok::<_, crate::store::Refusal>((qube.runtime.state, memory * 1024))
    })?;
    let state = dom0.true_state(&ask.dest, state);
    let memory = if state == PowerState::Halted { 0 } else { memory };
    Ok(format!("mem={memory} mem_static_max={memory} cputime=0 power_state={state}").into_bytes())
}

pub(super) fn system_info(dom0: &Arc<Dom0>, _: &Ask<'_>) -> Answer {
    Ok(dom0.system_info().json().to_vec())
}
