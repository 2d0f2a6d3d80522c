//! `lib/hypervisor` on Xen itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod guest;

use guest::{Guest, eventually, xl};
use hypervisor::xen::Xen;
use hypervisor::{Hypervisor, HypervisorError};
use names::DomId;
use std::process::Command;

fn domid(guest: &Guest) -> DomId {
    DomId::try_from(guest.domid().parse::<u32>().unwrap()).unwrap()
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p3_a_domain_is_known_paused_once_woken_once_and_destroyed() {
    let guest = Guest::create("known");
    guest.says("guest: up");
    let (xen, id) = (Xen::new(), domid(&guest));
    let info = xen.info(id).unwrap().unwrap();
    assert_eq!((info.name.as_str(), info.paused, info.dying), ("known", false, false));
    let uuid = xl(&["vm-list"]);
    assert!(uuid.contains(&info.uuid.to_string()), "{} is not in {uuid}", info.uuid);

    assert!(matches!(xen.unpause(id), Err(HypervisorError::NotPaused(_))));
    xen.pause(id).unwrap();
    assert!(guest.paused() && xen.info(id).unwrap().unwrap().paused);
    assert!(matches!(xen.pause(id), Err(HypervisorError::AlreadyPaused(_))));
    xl(&["pause", "known"]);
    xen.unpause(id).unwrap();
    assert!(xen.info(id).unwrap().unwrap().paused, "somebody else's pause is still there");
    xen.unpause(id).unwrap();
    assert!(!guest.paused());

    xen.destroy(id).unwrap();
    assert!(xen.info(id).unwrap().is_none_or(|info| info.dying));
    // Xen has none of it any more, but what xl wrote down is for xl to remove, and it does not know: `qubes-host` has xl
    // destroy what xl has made.
    let place = format!("/local/domain/{id}");
    assert!(Command::new("xenstore-rm").arg(place).status().unwrap().success());
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn r66_a_domain_gives_memory_back_when_it_is_asked_to() {
    let guest = Guest::create("balloon");
    guest.says("guest: up");
    let (xen, id) = (Xen::new(), domid(&guest));
    let (before, free) = (xen.memory(id).unwrap(), xen.free_memory().unwrap());
    let target = 100 << 20;
    assert!(before.current > target, "{before:?}");
    xen.set_memory_target(id, target).unwrap();
    eventually("it has shrunk", || xen.memory(id).unwrap().current <= target + (1 << 20));
    assert!(xen.memory(id).unwrap().maximum <= target + (1 << 20));
    assert!(xen.free_memory().unwrap() > free, "nobody else has it");
}
