//! The same tests as a user without any rights, and on a machine that refuses namespaces.

use crate::world::{SUPERVISOR_VARIABLE, World, supervisor};
use hypervisor::local::{Isolation, Pausing};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// nobody, on all systems; any number would do.
const NOBODY: u32 = 65534;
/// Tells [`namespaces_are_refused_here`] that they are.
const REFUSED_VARIABLE: &str = "HYPERVISOR_TEST_NAMESPACES_REFUSED";

#[test]
fn all_tests_hold_for_a_user_without_rights() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIPPED: this run is already without rights");
    }
    let place = Place::new();
    // As a desktop does, the user is given control groups of his own to divide.
    let groups = delegated_groups();
    let mut child = place
        .command("/bin/sh")
        .args(["-c", "read go; exec \"$0\" \"$@\""])
        .arg(place.tests())
        .args(["--skip", "unprivileged::", "--test-threads=2", "--show-output"])
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for group in &groups {
        fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    for group in &groups {
        fs::remove_dir(group).unwrap();
    }
    assert!(output.status.success());
    assert!(said.contains("test result: ok."));
}

#[test]
fn where_namespaces_are_refused_qubes_are_plain_processes() {
    if !Path::new("/usr/bin/unshare").exists() {
        return println!("SKIPPED: no unshare(1)");
    }
    let place = Place::new();
    // The limit holds for the namespace it is set in, so that the machine is not changed.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces || exit 99; exec \"$0\" \"$@\"";
    let output = place
        .command("/usr/bin/unshare")
        .args(["--user", "--map-root-user", "--", "/bin/sh", "-c", script])
        .arg(place.tests())
        .args(["--exact", "unprivileged::namespaces_are_refused_here", "--nocapture"])
        .env(REFUSED_VARIABLE, "yes")
        .output()
        .unwrap();
    if matches!(output.status.code(), Some(1 | 99))
        && !String::from_utf8_lossy(&output.stdout).contains("running")
    {
        return println!("SKIPPED: this machine refuses them already");
    }
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{said}");
}

/// A part of the test above.
#[test]
fn namespaces_are_refused_here() {
    if std::env::var_os(REFUSED_VARIABLE).is_none() {
        return;
    }
    let world = World::new();
    let spec = world.spec(51, (Isolation::Auto, Pausing::Auto), "exit 3");
    let mut created = world.start(&spec).unwrap();
    assert_eq!(created.isolation, Isolation::Processes);
    assert!(created.refusal.unwrap().contains("user namespace"));
    assert_eq!(created.supervisor.wait().unwrap().code(), Some(3));
    let strict = world.spec(52, (Isolation::Namespaces, Pausing::Auto), "exit 3");
    assert!(world.start(&strict).is_none());
    assert_eq!(world.local.list(), []);
}

/// Copies of the executables where anyone can reach them, which a build directory need not be.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fixture::copy_executable(&std::env::current_exe().unwrap(), &place.tests());
        fixture::copy_executable(&supervisor(), &place.supervisor());
        place
    }

    fn tests(&self) -> PathBuf {
        self.0.path().join("tests")
    }

    fn supervisor(&self) -> PathBuf {
        self.0.path().join("qube-supervisor")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env(SUPERVISOR_VARIABLE, self.supervisor()).current_dir("/");
        command
    }
}

/// A control group for each freezer of the machine, owned by the user without rights.
fn delegated_groups() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own_in =
        |key: &str| own.lines().find(|line| line.contains(key)).and_then(|line| line.splitn(3, ':').nth(2));
    let point = |kind: &str| {
        let line = mounts.lines().find(|line| line.contains(kind) && line.split(' ').nth(3) == Some("/"))?;
        line.split(' ').nth(4)
    };
    let parents = [
        point(" - cgroup2 ").zip(own.lines().find_map(|line| line.strip_prefix("0::"))),
        point("rw,freezer").zip(own_in("freezer")),
    ];
    let make = |(point, own): (&str, &str)| {
        let group =
            Path::new(point).join(own.trim_start_matches('/')).join(format!("test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        chown(&group, Some(NOBODY), Some(NOBODY)).unwrap();
        for file in ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"] {
            let _ = chown(group.join(file), Some(NOBODY), Some(NOBODY));
        }
        Some(group)
    };
    parents.into_iter().flatten().filter_map(make).collect()
}
