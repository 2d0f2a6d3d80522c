//! The service that docs/develop.md adds: a call of it gets a disposable, and its stream goes through whole.

use qubes_host::{Host, HostConfig, Layout};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) fn is_called() {
    let service = crate::built("pdf-convert");
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = directory.path().join("state");
    let layout = Layout::new(&state);
    layout.create().unwrap();
    let policy = include_str!("../../../../policy.d/81-pdf-convert.policy");
    let config = HostConfig {
        policy: vec![("81-pdf-convert.policy".to_owned(), policy.to_owned())],
        // In place of the template's converter: it says how many bytes came.
        environment: vec![("QUBES_BENCH".to_owned(), "1".to_owned())],
        services: vec![("qubes.PdfConvert".to_owned(), "bench-probe".to_owned())],
        ..HostConfig::new(layout.clone(), std::env::current_exe().unwrap())
    };
    let host = Host::start(config).unwrap();
    symlink(service, layout.services().join("qubes.PdfConvert")).unwrap();
    host.start_qube("work").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .arg0("qubes-host")
        .args(["exec", "--state"])
        .arg(&state)
        .args(["work", "--", "sh", "-c"])
        .arg("head -c 1234567 /dev/zero | qrexec-client-vm @dispvm qubes.PdfConvert")
        .output()
        .unwrap();
    let log = fs::read_to_string(layout.log().join("work.log")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{log}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.trim_end().ends_with(" 1234567"), "{said:?}\n{log}");
    drop(host);
}
