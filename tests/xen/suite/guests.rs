//! What the design takes for granted about Xen, on Xen itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod guest;

use guest::{Guest, xl, xl_fails};

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
    drop(guest);
    assert!(xl_fails(&["domname", &domid]), "it is still there");
}
