//! What is heard of, and what follows.

use crate::common::{self, Site, qube};
use crate::support::{TEMPLATE, dead, disposables, is_there, keeper, max, queue, set, signal, waiting};
use admin::PowerState;
use disposable::queue::{Place, Reservation};
use fixture::eventually;
use names::{QubeName, QubeRef};

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

#[test]
fn r99_r101_m25_one_that_waits_is_replaced_when_its_network_changes_or_goes_or_comes() {
    let site = Site::new();
    for (qube, netvm) in [(TEMPLATE, "vault"), ("work", "")] {
        site.admin().property_set(&common::qube(qube), "netvm", netvm).unwrap();
    }
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let generation = || queue(&site).generation().unwrap();
    let changed = |what: &str, change: &dyn Fn()| {
        let before = generation();
        change();
        eventually(what, || generation() > before);
    };
    changed("its network has come", &|| site.admin().start(&qube("vault")).unwrap());
    changed("its network has gone", &|| site.admin().kill(&qube("vault")).unwrap());
    changed("it has another one", &|| {
        site.admin().property_set(&qube(TEMPLATE), "netvm", "work").unwrap();
    });
    changed("that one has come", &|| site.admin().start(&qube("work")).unwrap());
    let before = generation();
    site.admin().start(&qube("vault")).unwrap();
    changed("that one has gone", &|| site.admin().kill(&qube("work")).unwrap());
    assert_eq!(generation().0, before.0 + 1, "what is no longer its network does not matter");
    let refused = site.admin().remove(&qube("work")).unwrap_err();
    assert!(refused.to_string().contains("netvm of default-dvm"), "{refused}");
}
