//! The units of systemd are what systemd understands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::fs;
use std::path::Path;
use std::process::Command;

const UNITS: [&str; 3] = [
    "qubes-dispvm-keeper.service",
    "qubes-dispvm-keeper-resume.service",
    "qubes-dispvm-keeper-suspend.service",
];

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
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("dispvm")).collect();
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

/// The commands of the sleep hook, by the real systemctl on a root directory of its own: no systemd has to run for that.
#[test]
fn m18_the_sleep_hook_follows_whether_the_keeper_is_enabled() {
    let root = tempfile::tempdir().unwrap();
    let systemctl = |words: &[&str]| {
        let root = format!("--root={}", root.path().display());
        Command::new("systemctl").arg(root).args(words).output().map(|output| output.status.success())
    };
    if systemctl(&["--version"]).is_err() {
        eprintln!("SKIPPED: no systemctl on this machine: the sleep hook was not tried");
        return;
    }
    for (directory, files) in [
        ("usr/lib/systemd/system", &UNITS[..]),
        ("usr/lib/systemd/system-preset", &["50-qubes-dispvm.preset"][..]),
    ] {
        let directory = root.path().join(directory);
        fs::create_dir_all(&directory).unwrap();
        files.iter().for_each(|file| fs::write(directory.join(file), text(file)).unwrap());
    }
    let preset = [&["preset"][..], &UNITS].concat();
    assert!(systemctl(&preset).unwrap());
    for target in ["suspend", "hibernate", "hybrid-sleep", "suspend-then-hibernate"] {
        let wanted = root.path().join(format!("etc/systemd/system/{target}.target.wants")).join(UNITS[1]);
        assert!(fs::symlink_metadata(&wanted).is_ok(), "{}", wanted.display());
    }
    let wanted = root.path().join("etc/systemd/system/sleep.target.wants").join(UNITS[2]);
    assert!(fs::symlink_metadata(&wanted).is_ok(), "{}", wanted.display());
    // As the unit says it, word for word.
    let unit = text(UNITS[1]);
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecCondition=/usr/bin/systemctl ")).unwrap();
    let condition: Vec<&str> = line.split(' ').collect();
    assert!(systemctl(&condition).unwrap(), "preloading is on: the hook begins it again");
    assert!(systemctl(&["disable", UNITS[0]]).unwrap());
    assert!(!systemctl(&condition).unwrap(), "preloading is off: the hook does nothing");
}
