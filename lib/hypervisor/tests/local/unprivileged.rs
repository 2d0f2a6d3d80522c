//! The same tests as a user without any rights.

use crate::world::{SUPERVISOR_VARIABLE, supervisor};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// nobody, on all systems; any number would do.
const NOBODY: u32 = 65534;

#[test]
fn all_tests_hold_for_a_user_without_rights() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIPPED: this run is already without rights");
    }
    // The build directory may be out of that user's reach.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (tests, program) = (place.path().join("tests"), place.path().join("qube-supervisor"));
    fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    fs::copy(supervisor(), &program).unwrap();
    let output = Command::new(&tests)
        .args(["--skip", "unprivileged::", "--test-threads=2", "--show-output"])
        .env(SUPERVISOR_VARIABLE, &program)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert!(said.contains("test result: ok."));
}
