//! The question to the policy agent, from a decision (spec/qrexec-wire.md 9.5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory;

use memory::Memory;
use policy::{Call, Decision, Options, Policy, SystemInfo};
use serde_json::{Value, json};
use std::path::Path;

const SYSTEM: &str = r#"{"domains": {
    "dom0": {"type": "AdminVM", "tags": [], "template_for_dispvms": false, "icon": "adminvm-black",
             "uuid": "00000000-0000-0000-0000-000000000000"},
    "work": {"type": "AppVM", "tags": [], "template_for_dispvms": false, "icon": "appvm-blue", "guivm": "dom0",
             "uuid": "00000000-0000-4000-8000-000000000001", "default_dispvm": "dvm"},
    "dvm": {"type": "AppVM", "tags": ["net"], "template_for_dispvms": true, "icon": "appvm-red", "guivm": null,
            "uuid": "00000000-0000-4000-8000-000000000002"}
}}"#;

#[test]
fn the_question_has_the_documented_keys() {
    let rules = "test.A * work @anyvm ask default_target=@dispvm";
    let policy =
        Policy::from_source(&mut Memory::of([("/p/1.policy", rules)]), &["/p"], Path::new("/legacy"))
            .unwrap();
    let system = SystemInfo::from_json(SYSTEM.as_bytes()).unwrap();
    let Decision::Ask(ask) = policy.evaluate(&Call::new("work", "test.A+x", ""), &system, Options::default())
    else {
        panic!()
    };
    assert_eq!(ask.guivm(&system), Some("dom0"));
    let found: Value = serde_json::from_slice(&ask.to_json(&system)).unwrap();
    assert_eq!(
        found,
        json!({
            "source": "work",
            "service": "test.A",
            "argument": "+x",
            "targets": ["@dispvm:dvm", "dvm"],
            "default_target": "@dispvm:dvm",
            "icons": {"dom0": "adminvm-black", "work": "appvm-blue", "dvm": "appvm-red", "@dispvm:dvm": "dispvm-red"}
        })
    );
}

#[test]
fn an_empty_guivm_is_none() {
    let system = SystemInfo::from_json(SYSTEM.as_bytes()).unwrap();
    assert_eq!(policy::protocol::guivm("dvm", &system), None);
    assert_eq!(policy::protocol::guivm("nosuch", &system), None);
}
