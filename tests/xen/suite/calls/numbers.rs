//! Figures of the hand-over, counted, and as ratios within one run: emulated time is no clock.

use crate::common::{HOST, code, text};
use std::process::Command;

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p6_what_a_hand_over_costs_is_counted_and_no_disk_is_waited_for() {
    let output = Command::new(HOST).args(["bench", "--hypervisor", "xen"]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let table = text(&output.stdout);
    println!();
    table.lines().for_each(|line| println!("figure: {line}"));
    let median = |name: &str| {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{table}"))
    };
    assert!(median("handover_fsyncs") == 0.0);
    // Who it is, the wake-up, who it is again, and opening and closing the interface.
    assert!(median("handover_privcmd") >= 3.0 && median("handover_xenstore") >= 3.0);
    for name in [
        "handover_syscalls",
        "handover_switches",
        "xl_unpause",
        "wake_connect",
        "call_running",
        "call_preloaded",
        "call_cold",
    ] {
        assert!(median(name) > 0.0, "{name}");
    }
}
