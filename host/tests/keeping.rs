//! The keeper beside a real host: what it checks, what it waits for, what it hears of, what it leaves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use admin::{PowerState, QubeClass, QubeLine};
use common::{EXECUTABLE, Site, qube};
use disposable::entry::Entry;
use disposable::queue::{ClaimOrReserved, Outcome, Place, Queue, Reservation};
use fixture::{LIMIT, eventually};
use names::{QubeName, QubeRef};
use os::process::ProcessId;
use std::fs;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

const TEMPLATE: &str = "default-dvm";

fn set(site: &Site, name: &str, feature: &str, value: &str) {
    site.admin().feature_set(&qube(name), feature, value).unwrap();
}

fn max(site: &Site, count: usize) {
    set(site, TEMPLATE, "preload-dispvm-delay", "0");
    set(site, TEMPLATE, "preload-dispvm-max", &count.to_string());
}

fn queue_of(site: &Site, template: &str) -> Option<Queue> {
    Queue::open(&site.layout.queue(), &template.parse().unwrap(), Duration::from_secs(10)).unwrap()
}

fn queue(site: &Site) -> Queue {
    let mut queue = None;
    eventually("there is a queue", || {
        queue = queue_of(site, TEMPLATE);
        queue.is_some()
    });
    queue.unwrap()
}

fn waiting(site: &Site, template: &str) -> Vec<QubeName> {
    let Some(queue) = queue_of(site, template) else { return Vec::new() };
    queue
        .list(Place::Ready)
        .unwrap()
        .into_iter()
        .filter_map(|listed| listed.entry)
        .map(|entry| entry.name)
        .collect()
}

fn disposables(site: &Site) -> Vec<QubeLine> {
    site.admin().list().unwrap().into_iter().filter(|line| line.class == QubeClass::DispVM).collect()
}

fn is_there(site: &Site, name: &QubeName) -> bool {
    disposables(site).iter().any(|line| line.name == *name)
}

fn cause_of_failure(site: &Site) -> String {
    let mut cause = String::new();
    eventually("a start has failed", || {
        cause = queue(site).last_failure().unwrap().map(|failure| failure.cause).unwrap_or_default();
        !cause.is_empty()
    });
    cause
}

/// Another process than this and the keeper; it has died.
fn dead() -> ProcessId {
    ProcessId { pid: 4_000_000, start: 1 }
}

/// A process that lives until it is killed, for which files can be written.
fn caller() -> (Child, ProcessId) {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    (child, ProcessId { pid, start: os::process::Stat::read(pid).unwrap().start })
}

fn keeper(site: &Site) -> i32 {
    let mut found = None;
    eventually("a keeper runs", || {
        found = common::processes_with(&site.layout.state().to_string_lossy()).into_iter().find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).next().is_some_and(|word| word.ends_with(b"preload-dispvm"))
        });
        found.is_some()
    });
    found.unwrap()
}

fn signal(pid: i32, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap().success());
}

/// Adds a line to dispvm.toml, before the host starts or while it runs.
fn configure(layout: &qubes_host::Layout, line: &str) {
    let path = layout.dispvm_config();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let old = fs::read_to_string(&path).unwrap_or_default();
    fs::write(path, format!("{old}{line}\n")).unwrap();
}

/// Where a stand-in for qmemman listens: a short path, outside of what the host clears at its start.
struct Qmemman {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Qmemman {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { path: directory.path().join("qmemman.sock"), _directory: directory }
    }

    fn line(&self) -> String {
        format!("qmemman-socket = \"{}\"", self.path.display())
    }

    /// The next that asks, and what it asks; it gets no answer as long as the connection is kept.
    fn asked(&self, listener: &UnixListener) -> (UnixStream, String) {
        listener.set_nonblocking(true).unwrap();
        let mut stream = None;
        eventually("qmemman is asked", || {
            stream = listener.accept().ok().map(|(stream, _)| stream);
            stream.is_some()
        });
        let mut stream = stream.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut request = [0; 64];
        let length = stream.read(&mut request).unwrap();
        (stream, String::from_utf8(request[..length].to_vec()).unwrap())
    }
}

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
    assert_eq!(self::keeper(&site), keeper, "it is still the same");
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

#[test]
fn p5_a_caller_killed_before_it_noted_what_it_created_leaks_nothing() {
    let site = Site::new();
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let named = b"name=kept label=red";
    site.admin().call("admin.vm.Create.DispVM", TEMPLATE, "dom0", named).unwrap();
    // As the caller leaves it: it had said that it wants one, and had created it.
    let queue = queue(&site);
    let (mut caller, own) = caller();
    std::mem::forget(queue.want(own, os::monotonic_ns()).unwrap());
    let created = QubeRef::Uuid(site.admin().create_disposable(&qube(TEMPLATE)).unwrap());
    let name = site.admin().name_of(&created).unwrap();
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("it is gone", || !is_there(&site, &name));
    eventually("so is its note", || {
        [Place::Claimed, Place::Done].into_iter().all(|place| queue.count(place).unwrap() == 0)
    });
    assert!(is_there(&site, &"kept".parse().unwrap()), "M4: a named one is nobody's leftover");
    assert_eq!(waiting(&site, TEMPLATE).len(), 1);
}

#[test]
fn p5_a_caller_killed_after_it_noted_what_it_created_leaks_nothing() {
    let site = Site::new();
    max(&site, 0);
    set(&site, "default-dvm", "preload-dispvm-max", "1");
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let queue = queue(&site);
    let (mut caller, own) = caller();
    let wanted = queue.want(own, os::monotonic_ns()).unwrap();
    let uuid = site.admin().create_disposable(&qube(TEMPLATE)).unwrap();
    let name = site.admin().name_of(&QubeRef::Uuid(uuid)).unwrap();
    let waiting = queue.list(Place::Ready).unwrap().remove(0).entry.unwrap();
    let entry = Entry { name: name.clone(), uuid, claimer: Some(own), ..waiting };
    std::mem::forget(wanted.became(entry).unwrap());
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("it is gone", || !is_there(&site, &name) && queue.count(Place::Claimed).unwrap() == 0);
}

#[test]
fn m19_a_keeper_that_is_stopped_while_it_makes_one_ends_that_one_too() {
    let qmemman = Qmemman::new();
    let listener = UnixListener::bind(&qmemman.path).unwrap();
    let site = Site::with(|config| configure(&config.layout, &qmemman.line()));
    site.admin().property_set(&qube(TEMPLATE), "maxmem", "800").unwrap();
    let keeper = keeper(&site);
    max(&site, 1);
    let (open, _) = qmemman.asked(&listener);
    let starting = queue(&site).list(Place::Starting).unwrap().remove(0).entry.unwrap().name;
    assert!(is_there(&site, &starting));
    let own = ProcessId { pid: keeper, start: os::process::Stat::read(keeper).unwrap().start };
    signal(keeper, "TERM");
    eventually("the keeper ends", || !own.is_alive());
    assert!(!is_there(&site, &starting), "it ended what it was making");
    drop(open);
}

#[test]
fn r37_r38_the_queue_moves_with_the_default_template() {
    let site = Site::new();
    site.admin().call("admin.vm.Create.AppVM", "system", "dom0", b"name=other label=red").unwrap();
    for feature in
        ["qrexec", "supported-rpc.qubes.WaitForRunningSystem", "supported-rpc.qubes.WaitForSession"]
    {
        set(&site, "other", feature, "1");
    }
    site.admin().property_set(&qube("other"), "template_for_dispvms", "True").unwrap();
    set(&site, "dom0", "preload-dispvm-delay", "0");
    set(&site, "dom0", "preload-dispvm-max", "1");
    eventually("one of the default waits", || waiting(&site, TEMPLATE).len() == 1);
    assert!(waiting(&site, "other").is_empty());
    site.admin().call("admin.property.Set", "default_dispvm", "dom0", b"other").unwrap();
    eventually("one of the new default waits", || {
        waiting(&site, "other").len() == 1 && waiting(&site, TEMPLATE).is_empty()
    });
    eventually("R96: nothing is left of the old one", || disposables(&site).len() == 1);
}

#[test]
fn r39_r48_a_template_is_preloaded_while_it_is_one() {
    let site = Site::new();
    site.admin().call("admin.vm.Create.AppVM", "system", "dom0", b"name=other label=red").unwrap();
    for feature in
        ["qrexec", "supported-rpc.qubes.WaitForRunningSystem", "supported-rpc.qubes.WaitForSession"]
    {
        set(&site, "other", feature, "1");
    }
    set(&site, "other", "preload-dispvm-delay", "0");
    set(&site, "other", "preload-dispvm-max", "1");
    let template =
        |value: &str| site.admin().property_set(&qube("other"), "template_for_dispvms", value).unwrap();
    template("True");
    eventually("one waits", || waiting(&site, "other").len() == 1);
    template("False");
    eventually("none is left", || waiting(&site, "other").is_empty() && disposables(&site).is_empty());
}

#[test]
fn r90_r94_only_what_changed_on_disk_makes_a_waiting_one_stale() {
    let site = Site::new();
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let outdated = |name: &QubeName| {
        let info = site.text("admin.vm.volume.Info", "private", name.as_str(), b"");
        info.lines().any(|line| line == "is_outdated=True")
    };
    let before = waiting(&site, TEMPLATE);
    assert!(!outdated(&before[0]));
    let generation = queue(&site).generation().unwrap();
    // Another qube's end is no reason.
    for name in ["work", TEMPLATE] {
        assert_eq!(queue(&site).generation().unwrap(), generation, "before the end of {name}");
        site.admin().start(&qube(name)).unwrap();
        site.admin().kill(&qube(name)).unwrap();
    }
    eventually("it is stale", || queue(&site).generation().unwrap() > generation);
    eventually("a fresh one waits", || {
        let now = waiting(&site, TEMPLATE);
        now.len() == 1 && now != before && !outdated(&now[0])
    });
}

#[test]
fn r16_m4_a_named_disposable_is_kept_with_its_settings() {
    let site = Site::new();
    site.admin().call("admin.vm.Create.DispVM", TEMPLATE, "dom0", b"name=mine label=purple").unwrap();
    let mine = qube("mine");
    let get = |property: &str| site.admin().property_get(&mine, property).unwrap().value;
    assert_eq!(get("auto_cleanup"), "False");
    site.admin().property_set(&mine, "memory", "500").unwrap();
    set(&site, "mine", "note", "x");
    for _ in 0..2 {
        site.admin().start(&mine).unwrap();
        site.admin().kill(&mine).unwrap();
        assert_eq!(site.admin().qube(&mine).unwrap().state, PowerState::Halted);
        assert_eq!((get("memory"), get("label")), ("500".into(), "purple".into()));
        assert_eq!(site.admin().feature_get(&mine, "note").unwrap().as_deref(), Some("x"));
    }
    // The keeper, too, has no business with it, whatever lies halted when it starts.
    let keeper = keeper(&site);
    signal(keeper, "KILL");
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    assert_eq!(get("memory"), "500");
    // In use as a template: who uses it is named.
    let refused = site.admin().property_set(&qube(TEMPLATE), "template_for_dispvms", "False").unwrap_err();
    assert!(refused.to_string().contains("default_dispvm"), "{refused}");
}

#[test]
fn r41_autostart_asks_for_preloading_and_reservations_of_the_dead_are_freed() {
    let site = Site::new();
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let label = Reservation::label(dead(), os::monotonic_ns());
    assert!(queue(&site).reserve(&label, 9).unwrap().is_some());
    assert_eq!(site.text("admin.vm.CreateDisposable", "preload", TEMPLATE, b""), "");
    eventually("its room is free", || queue(&site).count(Place::Starting).unwrap() == 0);
    assert_eq!(waiting(&site, TEMPLATE).len(), 1);
}

#[test]
fn r105_r108_a_waiting_one_is_started_already_and_holds_no_template() {
    let site = Site::new();
    for feature in
        ["qrexec", "supported-rpc.qubes.WaitForRunningSystem", "supported-rpc.qubes.WaitForSession"]
    {
        set(&site, TEMPLATE, feature, "1");
    }
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let name = waiting(&site, TEMPLATE).remove(0);
    let waits = QubeRef::Name(name.clone());
    eventually("it is in the list", || site.admin().property_get(&waits, "is_preload").unwrap().is_true());
    site.admin().start(&waits).unwrap();
    assert_eq!(site.admin().qube(&waits).unwrap().state, PowerState::Paused, "R105: nothing was done");
    // Nobody else uses the template: the one that waits is no reason to keep it.
    site.admin().call("admin.property.Set", "default_dispvm", "dom0", b"").unwrap();
    site.text("admin.vm.property.Reset", "default_dispvm", "work", b"");
    site.admin().remove(&qube(TEMPLATE)).unwrap();
    eventually("R108: it went with its template", || !is_there(&site, &name));
}
