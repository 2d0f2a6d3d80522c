//! The extension `accept_tag_targets`: off as in stock policy, and on only for dom0's own program.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory;

use memory::Memory;
use policy::{Call, Decision, DenyReason, Options, Policy, SystemInfo};
use std::path::Path;

const SYSTEM: &str = r#"{"domains": {
    "dom0": {"type": "AdminVM", "tags": [], "template_for_dispvms": false, "uuid": "00000000-0000-0000-0000-000000000000"},
    "work": {"type": "AppVM", "tags": [], "template_for_dispvms": false, "uuid": "00000000-0000-4000-8000-000000000001",
             "default_dispvm": "dvm"},
    "dvm": {"type": "AppVM", "tags": ["net"], "template_for_dispvms": true, "uuid": "00000000-0000-4000-8000-000000000002"}
}}"#;

fn decide(rules: &str, target: &str, accept_tag_targets: bool) -> Decision {
    let mut files = Memory::of([("/p/1.policy", rules)]);
    let policy = Policy::from_source(&mut files, &["/p"], Path::new("/legacy")).unwrap();
    let system = SystemInfo::from_json(SYSTEM.as_bytes()).unwrap();
    policy.evaluate(&Call::new("work", "a", target), &system, Options { accept_tag_targets })
}

fn reason(decision: Decision) -> DenyReason {
    match decision {
        Decision::Deny(deny) => deny.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn p8_off_it_is_a_syntax_error() {
    let decision = decide("a * work @dispvm:@tag:net allow target=@adminvm", "@dispvm:@tag:net", false);
    assert_eq!(reason(decision), DenyReason::NotATarget("@dispvm:@tag:net".into()));
}

#[test]
fn rules_that_send_it_to_dom0_allow_it() {
    for column in ["@dispvm:@tag:net", "@anyvm", "*"] {
        for redirect in ["@adminvm", "dom0", "uuid:00000000-0000-0000-0000-000000000000"] {
            let rules = format!("a * work {column} allow target={redirect}");
            let Decision::Allow(allow) = decide(&rules, "@dispvm:@tag:net", true) else { panic!("{rules}") };
            assert_eq!(
                allow.to_reply(),
                "user=DEFAULT\nresult=allow\ntarget=dom0\nautostart=True\nrequested_target=@dispvm:@tag:net"
            );
        }
    }
}

#[test]
fn p8_rules_that_send_it_elsewhere_do_not() {
    let parameters = [
        "allow",
        "allow target=@dispvm",
        "allow target=@dispvm:dvm",
        "allow target=dvm",
        "ask",
        "ask target=dvm",
    ];
    for parameters in parameters {
        let decision = decide(&format!("a * work @anyvm {parameters}"), "@dispvm:@tag:net", true);
        assert_eq!(reason(decision), DenyReason::TagNeedsAdminVm("@dispvm:@tag:net".into()), "{parameters}");
    }
}

#[test]
fn a_question_may_lead_to_dom0_only() {
    let Decision::Ask(ask) = decide("a * work @anyvm ask target=@adminvm", "@dispvm:@tag:net", true) else {
        panic!()
    };
    assert_eq!(ask.targets, ["dom0"]);
    let system = SystemInfo::from_json(SYSTEM.as_bytes()).unwrap();
    assert!(ask.answer("dom0", &system).is_allowed());
    assert!(!ask.answer("dvm", &system).is_allowed());
    assert!(!ask.assume_yes(&system).is_allowed());
}

#[test]
fn other_columns_do_not_match_it() {
    for column in
        ["@dispvm", "@dispvm:dvm", "@dispvm:@tag:nets", "@tag:net", "@type:AppVM", "dvm", "@default"]
    {
        let rules = format!("a * work {column} allow target=@adminvm");
        assert_eq!(reason(decide(&rules, "@dispvm:@tag:net", true)), DenyReason::NoMatchingRule, "{column}");
    }
    assert_eq!(reason(decide("a * work * deny", "@dispvm:@tag:net", true)), DenyReason::ByRule);
}

#[test]
fn a_tag_that_is_none_stays_an_error() {
    for target in
        ["@dispvm:@tag:", "@dispvm:@tag:a b", "@dispvm:@tag:@tag:x", "@dispvm:@tag:a\n", "@dispvm:@type:x"]
    {
        let decision = decide("a * work * allow target=@adminvm", target, true);
        assert_eq!(reason(decision), DenyReason::NotATarget(target.into()));
    }
}

#[test]
fn the_switch_changes_nothing_else() {
    for target in ["@dispvm", "@dispvm:dvm", "", "dom0", "dvm", "@dispvm:work", "@anyvm"] {
        for rules in ["a * work * allow", "a * work @dispvm:@tag:net allow target=dom0", "a * work * ask"] {
            assert_eq!(decide(rules, target, true), decide(rules, target, false), "{rules} {target}");
        }
    }
}

const SEVERAL: &str = r#"{"domains": {
    "dom0": {"type": "AdminVM", "tags": [], "template_for_dispvms": false, "uuid": "00000000-0000-0000-0000-000000000000"},
    "work": {"type": "AppVM", "tags": [], "template_for_dispvms": false, "default_dispvm": "one",
             "uuid": "00000000-0000-4000-8000-000000000001"},
    "vault": {"type": "AppVM", "tags": [], "template_for_dispvms": false, "default_dispvm": null,
              "uuid": "00000000-0000-4000-8000-000000000002"},
    "one": {"type": "AppVM", "tags": ["net"], "template_for_dispvms": true, "uuid": "00000000-0000-4000-8000-000000000003"},
    "two": {"type": "AppVM", "tags": ["net"], "template_for_dispvms": true, "uuid": "00000000-0000-4000-8000-000000000004"},
    "plain": {"type": "AppVM", "tags": ["net"], "template_for_dispvms": false, "uuid": "00000000-0000-4000-8000-000000000005"}
}}"#;

#[test]
fn p8_a_tag_leads_nowhere_where_a_name_does_not() {
    let decide = |rules: &str, source: &str| {
        let mut files = Memory::of([("/p/1.policy", rules)]);
        let policy = Policy::from_source(&mut files, &["/p"], Path::new("/legacy")).unwrap();
        let system = SystemInfo::from_json(SEVERAL.as_bytes()).unwrap();
        policy.evaluate(
            &Call::new(source, "a", "@dispvm:@tag:net"),
            &system,
            Options { accept_tag_targets: true },
        )
    };
    let by_tag = "a * @anyvm @dispvm:@tag:net allow target=@adminvm";
    for (before, source, denied) in [
        ("", "work", None),
        ("", "vault", None),
        // The tag means the caller's default where that has it, whatever is said of the others.
        ("a * @anyvm @dispvm:two deny", "work", None),
        ("a * @anyvm @dispvm:one deny", "work", Some("one")),
        ("a * work @dispvm:one deny", "vault", None),
        // Without such a default it may mean any of them.
        ("a * @anyvm @dispvm:two deny", "vault", Some("two")),
        ("a * @anyvm @dispvm:uuid:00000000-0000-4000-8000-000000000003 deny", "vault", Some("one")),
        ("a * @anyvm @dispvm:plain deny", "vault", None),
        // Neither past a question nor past dom0's program.
        ("a * @anyvm @dispvm:one ask", "work", Some("one")),
        ("a * @anyvm @dispvm:one allow", "work", Some("one")),
        ("a * @anyvm @dispvm:one allow target=@adminvm", "work", None),
    ] {
        let decision = decide(&format!("{before}\n{by_tag}"), source);
        match denied {
            None => assert!(decision.is_allowed(), "{before} {source}: {decision:?}"),
            Some(template) => assert_eq!(
                reason(decision),
                DenyReason::TagMeansMore { tag: "@dispvm:@tag:net".into(), template: template.into() },
                "{before} {source}"
            ),
        }
    }
    let asked = "a * @anyvm @dispvm:@tag:net ask target=@adminvm";
    assert!(matches!(decide(&format!("a * work @dispvm:one ask\n{asked}"), "work"), Decision::Ask(_)));
    assert!(matches!(decide(&format!("a * work @dispvm:one deny\n{asked}"), "work"), Decision::Deny(_)));
    // A tag that nothing has is for dom0's program to refuse, which says how to set it.
    assert!(decide("a * @anyvm * allow target=@adminvm", "vault").is_allowed());
}
