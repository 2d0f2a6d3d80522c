//! The units of systemd are what systemd understands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::fs;
use std::path::Path;
use std::process::Command;

const UNITS: [&str; 2] = ["qubes-dispvm-keeper.service", "qubes-dispvm-keeper-resume.service"];

fn text(unit: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd").join(unit)).unwrap()
}

#[test]
fn m22_units_pass_systemd_analyze_verify() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no systemd-analyze on this machine: the units were not verified");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<_> = UNITS
        .iter()
        .map(|unit| {
            let path = directory.path().join(unit);
            // Executables that are not installed here are no fault of the unit.
            let text = text(unit)
                .replace("/usr/lib/qubes-dispvm/preload-dispvm", env!("CARGO_BIN_EXE_preload-dispvm"))
                .replace("/usr/bin/systemctl", "/bin/true");
            fs::write(&path, text).unwrap();
            path
        })
        .collect();
    // What the units name and this machine has not.
    fs::write(directory.path().join("qubesd.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("preload-dispvm")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn m18_m19_r114_what_the_keeper_must_wait_for_and_how_long_it_may_take() {
    let unit = text("qubes-dispvm-keeper.service");
    for line in [
        "ConditionKernelCommandLine=!qubes.skip_autostart",
        "After=qubesd.service qubes-meminfo-writer-dom0.service",
        "Conflicts=sleep.target",
        "Before=sleep.target",
        "TimeoutStopSec=30",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(unit.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn presets_switch_on_units_that_exist() {
    let preset = text("50-qubes-dispvm.preset");
    let enabled: Vec<_> = preset.lines().filter_map(|line| line.strip_prefix("enable ")).collect();
    assert_eq!(enabled, UNITS);
    for unit in enabled {
        assert!(text(unit).contains("\n[Install]\n"), "{unit}");
    }
}
