//! What the design takes for granted about Xen, on Xen itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod guest;

use guest::{Guest, eventually, xenstore_of, xl, xl_fails};

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn a_guest_comes_up_is_paused_woken_and_destroyed() {
    let guest = Guest::create("plain");
    guest.says("guest: up");
    assert!(!guest.paused());
    xl(&["pause", "plain"]);
    assert!(guest.paused());
    xl(&["unpause", "plain"]);
    assert!(!guest.paused());
    let domid = guest.domid();
    assert!(!xenstore_of(&domid).is_empty(), "xenstore does not know it");
    drop(guest);
    assert!(xl_fails(&["domname", &domid]), "it is still there");
    eventually("xenstore holds nothing of it", || xenstore_of(&domid).is_empty());
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p3_xen_counts_pauses_so_that_one_wake_up_may_not_be_enough() {
    let guest = Guest::create("twice");
    xl(&["pause", "twice"]);
    xl(&["pause", "twice"]);
    xl(&["unpause", "twice"]);
    assert!(guest.paused(), "one of two pauses is still there");
    xl(&["unpause", "twice"]);
    assert!(!guest.paused());
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn a_guest_for_which_there_is_no_memory_is_refused_and_the_other_one_lives() {
    let guest = Guest::create("small");
    let said = Guest::refused("large", 1 << 20);
    assert!(said.contains("memory"), "{said}");
    assert!(!guest.paused());
    assert!(xl_fails(&["domid", "large"]), "a part of it is left");
}
