//! Figures of the hand-over, counted, and as ratios within one run: emulated time is no clock.

use crate::common::{HOST, code, text};
use std::process::Command;

const COUNTS: [&str; 5] =
    ["handover_syscalls", "handover_fsyncs", "handover_switches", "handover_privcmd", "handover_xenstore"];
const TIMES: [&str; 5] = ["xl_unpause", "wake_connect", "call_running", "call_preloaded", "call_cold"];

/// Runs the bench for these, shows its table, and gives a look-up of medians.
fn bench(names: &[&str]) -> impl Fn(&str) -> f64 {
    let output = Command::new(HOST)
        .args(["bench", "--hypervisor", "xen", "--only", &names.join(",")])
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let table = text(&output.stdout);
    println!();
    table.lines().for_each(|line| println!("figure: {line}"));
    move |name| {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in\n{table}"))
    }
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p6_what_a_hand_over_does_is_counted_and_no_disk_is_waited_for() {
    let median = bench(&COUNTS);
    assert!(median("handover_fsyncs") == 0.0);
    // Which domain it is, the wake-up, and that it is awake.
    assert!(median("handover_privcmd") >= 3.0);
    // Its name twice, where its vchan is.
    assert!(median("handover_xenstore") >= 3.0);
    assert!(median("handover_syscalls") > median("handover_privcmd") + median("handover_xenstore"));
    assert!(median("handover_switches") > 0.0);
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn times_of_calls_are_set_in_relation() {
    let median = bench(&TIMES);
    assert!(TIMES.iter().all(|name| median(name) > 0.0));
    assert!(
        median("call_preloaded") < median("call_cold"),
        "what waits is no quicker than what has to start"
    );
}
