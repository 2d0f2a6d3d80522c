//! Explanations name the rule that decides and those that came near.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory;

use memory::Memory;
use policy::{Call, MissedColumn, Options, Policy, Rule, SystemInfo};
use std::path::Path;

const SYSTEM: &str = r#"{"domains": {
    "work": {"type": "AppVM", "tags": [], "template_for_dispvms": false, "default_dispvm": "dvm",
             "uuid": "00000000-0000-4000-8000-000000000001"},
    "dvm": {"type": "AppVM", "tags": [], "template_for_dispvms": true, "default_dispvm": null,
            "uuid": "00000000-0000-4000-8000-000000000002"}
}}"#;

const RULES: &str = "a.B +x @anyvm @anyvm deny
other * @anyvm @anyvm deny
a.B * dvm @anyvm allow
* * work @adminvm deny notify=no
a.B * work @dispvm allow target=@adminvm user=root notify=yes autostart=no
a.B * @anyvm @anyvm ask default_target=dvm";

fn load(rules: &str) -> Policy {
    Policy::from_source(&mut Memory::of([("/p/1.policy", rules)]), &["/p"], Path::new("/legacy")).unwrap()
}

#[test]
fn near_misses_name_their_first_column() {
    let (policy, system) = (load(RULES), SystemInfo::from_json(SYSTEM.as_bytes()).unwrap());
    let explain = |target: &'static str| {
        let explained = policy.explain(&Call::new("work", "a.B", target), &system, Options::default());
        let call = Call::new("work", "a.B", target);
        assert_eq!(explained.decision, policy.evaluate(&call, &system, Options::default()));
        let near: Vec<(u32, MissedColumn)> =
            explained.near.iter().map(|miss| (miss.rule.origin.line, miss.column)).collect();
        (near, explained.rule.map(|rule: &Rule| rule.origin.line))
    };
    let before = [(1, MissedColumn::Argument), (3, MissedColumn::Source), (4, MissedColumn::Target)];
    assert_eq!(explain("@dispvm"), (before.to_vec(), Some(5)));
    let more = [&before[..], &[(5, MissedColumn::Target)]].concat();
    assert_eq!(explain("dvm"), (more.clone(), Some(6)));
    let (near, rule) = explain("@adminvm");
    assert_eq!((near.len(), rule), (2, Some(4)));
    assert_eq!(explain("@anyvm"), (Vec::new(), None), "refused before any rule");
    let none = load("a.B * work dvm allow")
        .explain(&Call::new("work", "a.B", ""), &system, Options::default())
        .near
        .len();
    assert_eq!(none, 1, "no rule matches: all that came near");
}

#[test]
fn a_file_that_is_included_twice_decides_at_its_first_reading() {
    let files = [("/p/1.policy", "!include x\n!include x\n"), ("/p/x", "a.B * work dvm allow\n")];
    let policy = Policy::from_source(&mut Memory::of(files), &["/p"], Path::new("/legacy")).unwrap();
    let system = SystemInfo::from_json(SYSTEM.as_bytes()).unwrap();
    let explained = policy.explain(&Call::new("work", "a.B", "dvm"), &system, Options::default());
    assert!(explained.near.is_empty() && explained.rule.is_some());
}

#[test]
fn a_rule_shown_and_read_again_is_the_same() {
    let policy = load(RULES);
    let shown: Vec<String> = policy.rules().iter().map(ToString::to_string).collect();
    assert_eq!(load(&shown.join("\n")).rules(), policy.rules());
    assert_eq!(shown.join("\n"), RULES);
}
