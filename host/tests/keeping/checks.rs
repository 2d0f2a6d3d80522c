//! What is checked and waited for before one waits.

use crate::common::{EXECUTABLE, Site, qube};
use crate::support::{
    Qmemman, TEMPLATE, cause_of_failure, configure, disposables, is_there, keeper, max, queue, set, signal,
    waiting,
};
use disposable::queue::{ClaimOrReserved, Outcome, Place};
use fixture::{LIMIT, eventually};
use os::process::ProcessId;
use std::fs;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[test]
fn r51_a_template_that_has_lost_its_services_is_preloaded_no_more_and_status_says_why() {
    let site = Site::new();
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    assert_eq!(queue(&site).last_failure().unwrap(), None);
    set(&site, TEMPLATE, "supported-rpc.qubes.WaitForSession", "");
    let first = queue(&site).list(Place::Ready).unwrap().remove(0).file;
    assert!(queue(&site).discard(Place::Ready, &first).unwrap());
    assert!(cause_of_failure(&site).contains("'qubes.WaitForSession'"));

    let mut status = Command::new(EXECUTABLE);
    status.arg0("qvm-dispvm").args(["status", "--state"]).arg(site.layout.state());
    let table = String::from_utf8(status.output().unwrap().stdout).unwrap();
    assert!(table.contains("default-dvm: last failure ") && table.contains("qvm-dispvm doctor"), "{table}");
    let json: serde_json::Value =
        serde_json::from_slice(&status.arg("--json").output().unwrap().stdout).unwrap();
    let failure = &json["templates"][0]["failure"];
    assert!(failure["cause"].as_str().unwrap().contains("WaitForSession"), "{json}");
    assert_eq!(failure["step"], "preload default-dvm");
    assert!(failure["age_s"].is_u64() && failure["remedy"].is_string(), "{json}");

    // Set again, it is tried again, and the success is the end of the failure.
    set(&site, TEMPLATE, "supported-rpc.qubes.WaitForSession", "1");
    max(&site, 2);
    eventually("two wait", || waiting(&site, TEMPLATE).len() == 2);
    assert_eq!(queue(&site).last_failure().unwrap(), None);
}

#[test]
fn r61_r63_the_session_is_waited_for_where_there_are_windows_and_its_failure_is_the_starts() {
    // No such program: the service cannot be run.
    let site = Site::with(|config| {
        config.services.push(("qubes.WaitForSession".into(), "nosuch".into()));
    });
    max(&site, 1);
    eventually("without windows nobody waits for a session", || waiting(&site, TEMPLATE).len() == 1);
    max(&site, 0);
    eventually("none is left", || disposables(&site).is_empty());
    site.admin().property_set(&qube(TEMPLATE), "guivm", "dom0").unwrap();
    set(&site, TEMPLATE, "gui", "1");
    set(&site, TEMPLATE, "supported-feature.late-gui-daemon", "1");
    max(&site, 1);
    assert!(cause_of_failure(&site).contains("qubes.WaitForSession ended with exit code 127"));
    eventually("R7: it is gone", || disposables(&site).is_empty());
    assert!(waiting(&site, TEMPLATE).is_empty());
}

#[test]
fn r67_a_call_does_not_wait_for_qmemman() {
    let qmemman = Qmemman::new();
    let listener = UnixListener::bind(&qmemman.path).unwrap();
    let site = Site::with(|config| configure(&config.layout, &qmemman.line()));
    site.admin().property_set(&qube(TEMPLATE), "maxmem", "800").unwrap();
    max(&site, 1);
    let (open, request) = qmemman.asked(&listener);
    let queue = queue(&site);
    let label = queue.list(Place::Starting).unwrap().remove(0);
    assert_eq!(request, format!("{}:0\n", label.entry.unwrap().domid));
    let reserved = match queue.claim_or_reserve(ProcessId::own()).unwrap() {
        ClaimOrReserved::Reserved(reserved) => reserved,
        other => panic!("{other:?}"),
    };
    match reserved.wait(LIMIT).unwrap() {
        Outcome::Awake(claimed) => assert!(is_there(&site, claimed.name())),
        other => panic!("{other:?}"),
    }
    // It was still waiting for the answer.
    drop(open);
}

#[test]
fn r68_r69_without_an_answer_the_pause_goes_on_without_a_connection_the_start_fails() {
    let qmemman = Qmemman::new();
    let site = Site::with(|config| configure(&config.layout, &qmemman.line()));
    site.admin().property_set(&qube(TEMPLATE), "maxmem", "800").unwrap();
    // A socket whose owner is dead.
    drop(UnixListener::bind(&qmemman.path).unwrap());
    max(&site, 1);
    assert!(cause_of_failure(&site).contains("qmemman"));
    eventually("R7: it is gone", || disposables(&site).is_empty());
    fs::remove_file(&qmemman.path).unwrap();
    let listener = UnixListener::bind(&qmemman.path).unwrap();
    let (open, _) = qmemman.asked(&listener);
    drop(open);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
}

#[test]
fn a_configuration_is_read_anew_at_sighup_and_a_broken_one_changes_nothing() {
    let site = Site::new();
    site.admin().property_set(&qube(TEMPLATE), "maxmem", "800").unwrap();
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let before = waiting(&site, TEMPLATE);
    let keeper = keeper(&site);
    let qmemman = Qmemman::new();
    let listener = UnixListener::bind(&qmemman.path).unwrap();
    configure(&site.layout, &qmemman.line());
    signal(keeper, "HUP");
    assert_eq!(waiting(&site, TEMPLATE), before, "what waits goes on waiting");
    // Each next one that is made may still be made by the old configuration.
    asked_for_one_of_the_next(&site, &listener);
    configure(&site.layout, "nosuch-key = 1");
    signal(keeper, "HUP");
    eventually("it was refused", || {
        let log = fs::read_to_string(site.layout.log().join("preload-dispvm.log")).unwrap_or_default();
        log.contains("nosuch-key") && log.contains("the configuration stays as it was")
    });
    asked_for_one_of_the_next(&site, &listener);
    assert_eq!(crate::support::keeper(&site), keeper, "it is still the same");
}

fn asked_for_one_of_the_next(site: &Site, listener: &UnixListener) {
    listener.set_nonblocking(true).unwrap();
    eventually("qmemman is asked", || {
        for listed in queue(site).list(Place::Ready).unwrap() {
            queue(site).discard(Place::Ready, &listed.file).unwrap();
        }
        // Closed at once: the pause goes on.
        listener.accept().is_ok()
    });
    eventually("one waits", || waiting(site, TEMPLATE).len() == 1);
}
