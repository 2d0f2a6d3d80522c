//! Rules of spec/disposables.md and spec/admin-api.md, on the store alone.

use super::*;
use admin::{ErrorClass, QubeClass};
use names::DomId;

fn name(text: &str) -> QubeName {
    text.parse().unwrap()
}

fn store() -> Store {
    let mut next = 0u8;
    let mut store = Store::default_set(|| {
        next += 1;
        Uuid::from_random([next; 16])
    });
    store.take_unsaved();
    store
}

fn disposable(store: &mut Store, number: u16) -> QubeName {
    let mut uuid = [0u8; 16];
    uuid[..2].copy_from_slice(&number.to_be_bytes());
    let fresh = Fresh { uuid: Uuid::from_random(uuid), random: || number, now: 0 };
    store.create_disposable(&name("default-dvm"), fresh).unwrap()
}

fn events(store: &mut Store) -> Vec<String> {
    store.take_events().into_iter().map(|event| format!("{} {}", event.subject, event.name)).collect()
}

fn class<T: std::fmt::Debug>(result: Result<T, Refusal>) -> ErrorClass {
    result.unwrap_err().class
}

#[test]
fn r1_default_dispvm_of_a_disposable_is_its_template() {
    let mut store = store();
    let disposable = disposable(&mut store, 5);
    let qube = store.get(&disposable).unwrap();
    assert_eq!(
        store.property(qube, "default_dispvm").unwrap().to_string(),
        "default=True type=vm default-dvm"
    );
    assert_eq!(store.property(qube, "dispid").unwrap().value, "5");
    assert_eq!(store.property(qube, "auto_cleanup").unwrap().value, "True");
}

#[test]
fn p8_an_empty_default_dispvm_stays_empty() {
    let store = store();
    let vault = store.get(&name("vault")).unwrap();
    assert_eq!(store.property(vault, "default_dispvm").unwrap().to_string(), "default=False type=vm ");
    assert_eq!(system_info(&store).get("vault").unwrap().default_dispvm, None);
    assert_eq!(system_info(&store).get("work").unwrap().default_dispvm.as_deref(), Some("default-dvm"));
}

#[test]
fn r3_only_from_a_disposable_template() {
    let mut store = store();
    let fresh = || Fresh { uuid: Uuid::from_random([77; 16]), random: || 1, now: 0 };
    assert_eq!(class(store.create_disposable(&name("work"), fresh())), ErrorClass::QubesException);
    let named = NewQube {
        name: name("my-disp"),
        label: "red".into(),
        template: Some(name("work")),
        class: QubeClass::DispVM,
    };
    assert_eq!(class(store.create_qube(&named, fresh())), ErrorClass::QubesValueError);
}

#[test]
fn r4_what_a_disposable_takes_from_its_template() {
    let mut store = store();
    let (dom0, template) = (QubeName::dom0(), name("default-dvm"));
    store.set_property(&template, "memory", b"600").unwrap();
    store.set_feature(&dom0, &template, "mine", b"x").unwrap();
    store.set_feature(&dom0, &template, "preload-dispvm-max", b"1").unwrap();
    let first = disposable(&mut store, 5);
    store.set_property(&template, "memory", b"700").unwrap();
    store.set_property(&template, "default_user", b"other").unwrap();
    let qube = store.get(&first).unwrap();
    assert_eq!(store.property(qube, "memory").unwrap().value, "600", "was set when it was made");
    assert_eq!(store.property(qube, "default_user").unwrap().value, "other", "follows the template");
    assert_eq!(qube.feature("mine"), Some("x"));
    assert_eq!(qube.feature("preload-dispvm-max"), None);
    assert!(qube.has_tag(&"disposable-default".parse().unwrap()));
    assert!(!qube.is_template_for_dispvms());
    assert_eq!(store.text(qube, "label"), "red");
}

#[test]
fn r5_template_of_a_disposable() {
    let mut store = store();
    let disposable = disposable(&mut store, 5);
    assert_eq!(class(store.reset_property(&disposable, "template")), ErrorClass::QubesValueError);
    assert_eq!(class(store.set_property(&disposable, "template", b"work")), ErrorClass::QubesValueError);
    store.starting(&disposable, "0").unwrap();
    let changed = store.set_property(&disposable, "template", b"default-dvm");
    assert_eq!(class(changed), ErrorClass::QubesVMNotHaltedError);
}

#[test]
fn r11_the_number_of_a_removed_disposable_rests() {
    let mut store = store();
    let gone = disposable(&mut store, 5);
    store.remove(&gone, 10);
    let fresh = Fresh { uuid: Uuid::from_random([88; 16]), random: || 5, now: 11 };
    assert!(store.create_disposable(&name("default-dvm"), fresh).is_err());
}

#[test]
fn r20_preload_features_are_for_dom0_alone() {
    let mut store = store();
    let (work, template, dom0) = (name("work"), name("default-dvm"), QubeName::dom0());
    for feature in ["preload-dispvm", "preload-dispvm-completed", "preload-dispvm-in-progress"] {
        let refused = store.set_feature(&work, &template, feature, b"");
        assert_eq!(class(refused), ErrorClass::PermissionDenied, "{feature}");
        store.set_feature(&dom0, &template, feature, b"").unwrap();
    }
    let refused = store.set_feature(&dom0, &work, "deferred-netvm-original", b"");
    assert_eq!(class(refused), ErrorClass::PermissionDenied);
}

#[test]
fn r21_to_r24_values_of_preload_features() {
    let mut store = store();
    let (dom0, template) = (QubeName::dom0(), name("default-dvm"));
    let mut message = |qube: &QubeName, feature: &str, value: &str| {
        store.set_feature(&dom0, qube, feature, value.as_bytes()).map_err(|refusal| refusal.message)
    };
    assert_eq!(
        message(&template, "preload-dispvm-max", "x"),
        Err("Invalid preload-dispvm-max value: not a digit".into())
    );
    assert_eq!(message(&template, "preload-dispvm-max", ""), Ok(()));
    assert_eq!(
        message(&dom0, "preload-dispvm-max", "-1"),
        Err("Invalid preload-dispvm-max value: not a digit".into())
    );
    assert_eq!(message(&dom0, "preload-dispvm-delay", "-1.5"), Ok(()));
    assert!(message(&dom0, "preload-dispvm-delay", "soon").is_err());
    assert!(message(&dom0, "preload-dispvm-threshold", "x").is_err());
    assert_eq!(message(&template, "preload-dispvm-threshold", "x"), Ok(()));
    store.remove_feature(&dom0, &template, "supported-rpc.qubes.WaitForSession").unwrap();
    let refused = store.set_feature(&dom0, &template, "preload-dispvm-max", b"1").unwrap_err();
    assert_eq!(refused.message, "Qube does not support the RPC(s) 'qubes.WaitForSession'");
    store.remove_feature(&dom0, &template, "qrexec").unwrap();
    let refused = store.set_feature(&dom0, &template, "preload-dispvm-max", b"1").unwrap_err();
    assert_eq!(refused.message, "Qube does not support qrexec");
}

#[test]
fn r25_r26_r27_the_list() {
    let mut store = store();
    let (dom0, template) = (QubeName::dom0(), name("default-dvm"));
    let first = disposable(&mut store, 1);
    let second = disposable(&mut store, 2);
    store.set_feature(&dom0, &template, "preload-dispvm-max", b"2").unwrap();
    events(&mut store);
    store.set_feature(&dom0, &template, "preload-dispvm", b"disp1 disp2").unwrap();
    assert_eq!(
        events(&mut store),
        [
            "default-dvm domain-feature-pre-set:preload-dispvm",
            "disp1 property-reset:is_preload",
            "disp2 property-reset:is_preload",
            "default-dvm domain-feature-set:preload-dispvm",
        ]
    );
    assert!(store.is_preload(store.get(&first).unwrap()));
    for bad in ["disp1 disp2 disp3", "disp1 disp1", "disp1 work", "disp1 nosuch"] {
        let refused = store.set_feature(&dom0, &template, "preload-dispvm", bad.as_bytes());
        assert_eq!(class(refused), ErrorClass::QubesValueError, "{bad}");
    }
    store.remove(&second, 0);
    assert_eq!(store.get(&template).unwrap().feature("preload-dispvm"), Some("disp1"));
    store.set_feature(&dom0, &template, "preload-dispvm", b"").unwrap();
    assert!(!store.is_preload(store.get(&first).unwrap()));
}

#[test]
fn r28_maximum_in_force() {
    let mut store = store();
    let (dom0, template) = (QubeName::dom0(), name("default-dvm"));
    store.set_feature(&dom0, &template, "preload-dispvm-max", b"3").unwrap();
    assert_eq!(store.preload_max(&template), 3);
    store.set_feature(&dom0, &dom0, "preload-dispvm-max", b"").unwrap();
    assert_eq!(store.preload_max(&template), 0);
    store.remove_feature(&dom0, &dom0, "preload-dispvm-max").unwrap();
    assert_eq!(store.preload_max(&template), 3);
}

#[test]
fn r34_to_r36_preloading_is_announced() {
    let mut store = store();
    let (dom0, template) = (QubeName::dom0(), name("default-dvm"));
    let reasons = |store: &mut Store| -> Vec<String> {
        let events = store.take_events().into_iter();
        let starts = events.filter(|event| event.name == "domain-preload-dispvm-start");
        starts.map(|event| event.value("reason").unwrap_or_default().to_owned()).collect()
    };
    store.set_feature(&dom0, &template, "preload-dispvm-max", b"3").unwrap();
    assert_eq!(reasons(&mut store), ["local feature was set to '3'"]);
    store.set_feature(&dom0, &template, "preload-dispvm-max", b"3").unwrap();
    assert!(reasons(&mut store).is_empty());
    store.set_feature(&dom0, &dom0, "preload-dispvm-max", b"1").unwrap();
    assert_eq!(reasons(&mut store), ["global feature was set to '1'"]);
    store.set_feature(&dom0, &template, "preload-dispvm-max", b"4").unwrap();
    assert!(reasons(&mut store).is_empty(), "the value on dom0 is in force");
    store.remove_feature(&dom0, &dom0, "preload-dispvm-max").unwrap();
    assert_eq!(reasons(&mut store), ["global feature was deleted"]);
}

#[test]
fn r48_a_disposable_template_in_use_stays_one() {
    let mut store = store();
    let template = name("default-dvm");
    let refused = store.set_property(&template, "template_for_dispvms", b"no");
    assert_eq!(class(refused), ErrorClass::QubesVMInUseError);
    store.set_system_property("default_dispvm", b"").unwrap();
    let refused = store.set_property(&template, "template_for_dispvms", b"no");
    assert_eq!(class(refused), ErrorClass::QubesVMInUseError, "work has it explicitly");
    store.set_property(&name("work"), "default_dispvm", b"").unwrap();
    store.set_property(&template, "template_for_dispvms", b"no").unwrap();
}

#[test]
fn values_of_properties() {
    let mut store = store();
    let work = name("work");
    for (property, value, expected) in [
        ("memory", "x", ErrorClass::QubesValueError),
        ("memory", "-1", ErrorClass::QubesPropertyValueError),
        ("memory", "\u{e4}", ErrorClass::QubesValueError),
        ("template_for_dispvms", "2", ErrorClass::QubesValueError),
        ("label", "pink", ErrorClass::QubesLabelNotFoundError),
        ("default_dispvm", "nosuch", ErrorClass::QubesPropertyValueError),
        ("default_dispvm", "uuid:00000000-0000-0000-0000-000000000000", ErrorClass::QubesValueError),
        ("default_dispvm", "vault", ErrorClass::QubesPropertyValueError),
        ("template", "", ErrorClass::QubesPropertyValueError),
        ("template", "vault", ErrorClass::QubesPropertyValueError),
        ("klass", "x", ErrorClass::QubesPropertyValueError),
        ("name", "x", ErrorClass::QubesPropertyValueError),
        ("nosuch", "x", ErrorClass::QubesNoSuchPropertyError),
        ("dispid", "1", ErrorClass::QubesNoSuchPropertyError),
    ] {
        assert_eq!(
            class(store.set_property(&work, property, value.as_bytes())),
            expected,
            "{property}={value}"
        );
    }
    store.set_property(&work, "template_for_dispvms", b"YES").unwrap();
    assert!(store.get(&work).unwrap().is_template_for_dispvms());
    store.reset_property(&work, "default_dispvm").unwrap();
    let property = store.property(store.get(&work).unwrap(), "default_dispvm").unwrap();
    assert_eq!(property.to_string(), "default=True type=vm default-dvm");
}

#[test]
fn system_default_reaches_those_who_follow_it() {
    let mut store = store();
    store.reset_property(&name("work"), "default_dispvm").unwrap();
    events(&mut store);
    store.set_system_property("default_dispvm", b"").unwrap();
    let events = events(&mut store);
    assert_eq!(events.first().unwrap(), " property-pre-set:default_dispvm");
    assert!(events.contains(&"work property-reset:default_dispvm".into()));
    assert!(!events.contains(&"vault property-reset:default_dispvm".into()));
    assert_eq!(events.last().unwrap(), " property-set:default_dispvm");
    assert_eq!(system_info(&store).get("work").unwrap().default_dispvm, None);
}

#[test]
fn start_and_end_in_the_order_of_the_specification() {
    let mut store = store();
    let work = name("work");
    store.starting(&work, "400").unwrap();
    assert_eq!(class(store.starting(&work, "400")), ErrorClass::QubesVMNotHaltedError);
    store.spawned(&work, DomId::try_from(3).unwrap(), 1);
    store.started(&work);
    store.ended(&work);
    let events: Vec<String> =
        events(&mut store).into_iter().map(|event| event.replace("work ", "")).collect();
    assert_eq!(
        events,
        [
            "domain-pre-start",
            "domain-pre-spawn",
            "property-reset:xid",
            "property-reset:stubdom_xid",
            "property-reset:start_time",
            "domain-spawn",
            "domain-qdb-create",
            "domain-pre-unpaused",
            "domain-unpaused",
            "domain-start",
            "domain-stopped",
            "property-reset:xid",
            "property-reset:stubdom_xid",
            "property-reset:start_time",
            "domain-shutdown",
        ]
    );
}

#[test]
fn tags() {
    let mut store = store();
    let (work, dom0) = (name("work"), QubeName::dom0());
    let tag = |text: &str| text.parse().unwrap();
    store.add_tag(&dom0, &work, &tag("created-by-dom0")).unwrap();
    store.add_tag(&dom0, &work, &tag("created-by-dom0")).unwrap();
    assert_eq!(events(&mut store), ["work domain-tag-add:created-by-dom0"]);
    assert_eq!(class(store.remove_tag(&work, &work, &tag("created-by-dom0"))), ErrorClass::PermissionDenied);
    assert_eq!(class(store.remove_tag(&work, &work, &tag("x"))), ErrorClass::QubesTagNotFoundError);
}

#[test]
fn what_is_used_is_not_removed() {
    let mut store = store();
    assert_eq!(class(store.check_remove(&QubeName::dom0())), ErrorClass::QubesVMInUseError);
    assert_eq!(class(store.check_remove(&name("system"))), ErrorClass::QubesVMInUseError);
    assert_eq!(class(store.check_remove(&name("default-dvm"))), ErrorClass::QubesVMInUseError);
    store.check_remove(&name("vault")).unwrap();
    store.starting(&name("vault"), "0").unwrap();
    assert_eq!(class(store.check_remove(&name("vault"))), ErrorClass::QubesVMNotHaltedError);
}
