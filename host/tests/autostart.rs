//! Qubes that start with the host.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use admin::PowerState;
use common::qube;
use fixture::eventually;

#[test]
fn autostarted_qubes_start_with_the_host_and_one_that_cannot_holds_up_no_other() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = directory.path().join("state");
    let (host, layout, _story) = common::start(&state, |_| {});
    let admin = admin::Client::new(layout.qubesd_socket());
    for name in ["vault", "default-dvm"] {
        admin.property_set(&qube(name), "autostart", "True").unwrap();
    }
    admin.feature_set(&qube("default-dvm"), "prohibit-start", "not today").unwrap();
    assert_eq!(admin.qube(&qube("vault")).unwrap().state, PowerState::Halted, "it is for the next time");
    host.stop().unwrap();
    // It is in the file.
    let (host, layout, _story) = common::start(&state, |_| {});
    let failed = host.start_autostarted();
    let admin = admin::Client::new(layout.qubesd_socket());
    assert_eq!(admin.qube(&qube("vault")).unwrap().state, PowerState::Running);
    assert_eq!(admin.qube(&qube("work")).unwrap().state, PowerState::Halted);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0.as_str(), "default-dvm");
    assert!(failed[0].1.to_string().contains("not today"), "{}", failed[0].1);
    host.stop().unwrap();
}

#[test]
fn serve_starts_autostarted_qubes() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = directory.path().join("state");
    let (host, layout, _story) = common::start(&state, |_| {});
    let admin = admin::Client::new(layout.qubesd_socket());
    admin.property_set(&qube("vault"), "autostart", "True").unwrap();
    host.stop().unwrap();
    let mut serve = std::process::Command::new(common::EXECUTABLE)
        .args(["serve", "--json", "--preload=0", "--state"])
        .arg(&state)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("it runs", || admin.qube(&qube("vault")).is_ok_and(|line| line.state == PowerState::Running));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(serve.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(serve.wait().unwrap().success());
}
