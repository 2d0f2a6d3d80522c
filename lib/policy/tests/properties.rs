//! Random policies and requests against a naive evaluator, and arbitrary bytes against every parser.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod memory;
mod naive;

use memory::Memory;
use naive::{Outcome, Question};
use policy::protocol::{Grant, Reply, Request};
use policy::{Call, Decision, Options, Policy, SystemInfo};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use std::path::Path;

const SERVICES: [&str; 2] = ["s.One", "s.Two"];
const ARGUMENTS: [&str; 3] = ["+", "+a", "+a+b"];
const QUBES: [&str; 9] = ["dom0", "work", "vault", "dvm-a", "dvm-b", "disp1", "far", "relay", "nosuch"];
const TAGS: [&str; 3] = ["t1", "t2", "t3"];
const CLASSES: [&str; 4] = ["AdminVM", "AppVM", "DispVM", "RemoteVM"];

fn uuid(index: usize) -> String {
    format!("00000000-0000-{}-0000-{index:012}", if index == 0 { "0000" } else { "4000" })
}

fn system() -> impl Strategy<Value = Value> {
    let template = select(vec![None, Some("dvm-a"), Some("dvm-b"), Some("vault"), Some("gone")]);
    let state = select(vec!["Running", "Halted", "Paused"]);
    let qube =
        (template, state, proptest::collection::vec(select(TAGS.to_vec()), 0..3), 0..4u8, any::<bool>());
    proptest::collection::vec(qube, QUBES.len() - 1).prop_map(|qubes| {
        let mut domains = serde_json::Map::new();
        for (index, (default, state, tags, internal, reachable)) in qubes.into_iter().enumerate() {
            let name = QUBES[index];
            let class = match name {
                "dom0" => "AdminVM",
                "disp1" => "DispVM",
                "far" => "RemoteVM",
                _ => "AppVM",
            };
            let far = name == "far";
            let hidden = [None, Some(""), Some("1"), None][usize::from(internal)];
            domains.insert(
                name.to_owned(),
                json!({
                    "type": class,
                    "uuid": uuid(index),
                    "default_dispvm": default,
                    "power_state": state,
                    "tags": tags,
                    "internal": hidden,
                    "template_for_dispvms": name.starts_with("dvm-"),
                    "icon": "icon",
                    "label": "0xcc0000",
                    "guivm": "dom0",
                    "relayvm": far.then_some(if reachable { "relay" } else { "gone" }),
                    "transport_rpc": (far && internal != 1).then_some("t.Port"),
                }),
            );
        }
        json!({ "domains": domains })
    })
}

fn qube() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(QUBES.to_vec()).prop_map(str::to_owned),
        1 => (0..QUBES.len()).prop_map(|index| format!("uuid:{}", uuid(index))),
    ]
}

fn target(redirect: bool) -> BoxedStrategy<String> {
    let everywhere = prop_oneof![
        3 => qube(),
        2 => qube().prop_map(|base| format!("@dispvm:{base}")),
        1 => Just("@adminvm".to_owned()),
        2 => Just("@dispvm".to_owned()),
    ];
    if redirect {
        return everywhere.boxed();
    }
    prop_oneof![
        4 => everywhere,
        3 => select(vec!["*", "@anyvm", "@default"]).prop_map(str::to_owned),
        1 => select(TAGS.to_vec()).prop_map(|tag| format!("@tag:{tag}")),
        1 => select(TAGS.to_vec()).prop_map(|tag| format!("@dispvm:@tag:{tag}")),
        1 => select(CLASSES.to_vec()).prop_map(|class| format!("@type:{class}")),
    ]
    .boxed()
}

fn source() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["*", "@anyvm"]).prop_map(str::to_owned),
        3 => target(false).prop_filter("illegal as a source", |token| token != "@default" && token != "@dispvm"),
    ]
}

fn rule() -> impl Strategy<Value = String> {
    let action = prop_oneof![
        2 => (proptest::option::weighted(0.4, target(true)), select(vec!["", " user=u", " user=", " autostart=no"]))
            .prop_map(|(target, more)| format!("allow{}{more}", parameter("target", target))),
        2 => (
            proptest::option::weighted(0.2, target(true)),
            proptest::option::weighted(0.4, target(true)),
            select(vec!["", " user=u", " autostart=no"]),
        )
            .prop_map(|(target, first, more)| {
                format!("ask{}{}{more}", parameter("target", target), parameter("default_target", first))
            }),
        1 => Just("deny".to_owned()),
    ];
    let service = prop_oneof![
        1 => Just("* *".to_owned()),
        5 => (select(SERVICES.to_vec()), prop_oneof![3 => Just("*"), 1 => select(ARGUMENTS.to_vec())])
            .prop_map(|(service, argument)| format!("{service} {argument}")),
    ];
    (service, source(), target(false), action)
        .prop_map(|(service, source, target, action)| format!("{service} {source} {target} {action}"))
        .prop_filter("allow to @default needs target=", |line| {
            !line.contains(" @default allow") || line.contains(" target=")
        })
}

fn parameter(key: &str, value: Option<String>) -> String {
    value.map(|value| format!(" {key}={value}")).unwrap_or_default()
}

fn request() -> impl Strategy<Value = (String, &'static str, &'static str, String)> {
    let asked = prop_oneof![
        6 => target(true),
        2 => Just("@default".to_owned()),
        1 => select(vec!["", "*", "@anyvm", "@dispvm:", "@dispvm:@tag:t1", "@tag:t1"]).prop_map(str::to_owned),
    ];
    (qube(), select(SERVICES.to_vec()), select(ARGUMENTS.to_vec()), asked)
}

fn load(text: &str) -> Result<Policy, policy::LoadError> {
    let mut files = Memory::of([("/p/10-x.policy", text)]);
    Policy::from_source(&mut files, &["/p"], Path::new("/legacy"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decides_as_the_naive_evaluator(
        rules in proptest::collection::vec(rule(), 1..8),
        json in system(),
        (source, service, argument, asked) in request(),
    ) {
        let policy = load(&rules.join("\n")).unwrap();
        let system = SystemInfo::from_json(json.to_string().as_bytes()).unwrap();
        let call = Call { source: &source, requested_source: None, service, argument, target: &asked };
        let decision = policy.evaluate(&call, &system, Options::default());
        let line = decision.rule().map(|rule| rule.line as usize);
        let question = Question { rules: &rules, system: &json, source: &source, service, argument, target: &asked };
        let ours = match &decision {
            Decision::Allow(allow) => {
                Outcome::Allow(allow.to_reply().lines().map(str::to_owned).collect(), line.unwrap())
            }
            Decision::Ask(ask) => {
                let words: Vec<&str> = rules[line.unwrap() - 1].split_whitespace().collect();
                for choice in &ask.targets {
                    let reply = naive::reply(&question, &words, choice, &ask.requested_target());
                    match ask.answer(choice, &system) {
                        Decision::Allow(allow) => prop_assert_eq!(Ok(allow.to_reply()), reply.map(|l| l.join("\n"))),
                        Decision::Deny(_) => prop_assert_eq!(reply, Err(())),
                        Decision::Ask(_) => prop_assert!(false),
                    }
                }
                Outcome::Ask(ask.targets.clone(), ask.default_target.clone(), line.unwrap())
            }
            Decision::Deny(_) => Outcome::Deny,
        };
        prop_assert_eq!(ours, naive::decide(&question));
    }

    #[test]
    fn tag_targets_reach_dom0_or_nothing(
        rules in proptest::collection::vec(rule(), 1..8),
        json in system(),
        (source, service, argument, _) in request(),
        tag in select(TAGS.to_vec()),
    ) {
        let policy = load(&rules.join("\n")).unwrap();
        let system = SystemInfo::from_json(json.to_string().as_bytes()).unwrap();
        let asked = format!("@dispvm:@tag:{tag}");
        let call = Call { source: &source, requested_source: None, service, argument, target: &asked };
        prop_assert!(!policy.evaluate(&call, &system, Options::default()).is_allowed());
        let decision = policy.evaluate(&call, &system, Options { accept_tag_targets: true });
        let answers = match decision {
            Decision::Ask(ask) => ask.targets.iter().map(|choice| ask.answer(choice, &system)).collect(),
            other => vec![other],
        };
        for answer in answers {
            if let Decision::Allow(allow) = answer {
                prop_assert!(allow.grant.is_for_dom0());
                prop_assert_eq!(&allow.grant.requested_target, &asked);
                let line = &rules[allow.rule.line as usize - 1];
                let column = line.split_whitespace().nth(3).unwrap();
                prop_assert!(column == asked || column == "*" || column == "@anyvm", "{}", line);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_policy_or_an_error_with_its_place(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut files = Memory::default();
        files.0.insert("/p/10-x.policy".into(), bytes);
        if let Err(error) = Policy::from_source(&mut files, &["/p"], Path::new("/legacy")) {
            prop_assert!(error.to_string().starts_with("/p/10-x.policy"));
        }
    }

    #[test]
    fn almost_policies_are_a_policy_or_an_error_with_its_place(
        words in proptest::collection::vec(
            prop_oneof![
                select(vec![
                    "s.One", "*", "+", "+a", "work", "@anyvm", "@dispvm:", "@tag:x", "allow", "ask", "deny", "=", "target=",
                    "target=@dispvm", "user=", "notify=yes", "!include", "!include-dir", "!include-service",
                    "!compat-4.0", "x", "/p", "..", "#", "\n", "\n", "\n", "\r", "\u{1f}", "$include:x", ",", "$anyvm",
                ]).prop_map(str::to_owned),
                "\\PC{1,3}",
            ],
            0..60,
        ),
        included in "[ -~\n]{0,80}",
    ) {
        let text = words.join(" ");
        let mut files = Memory::of([("/p/10-x.policy", &text), ("/p/x", &included)]);
        if let Err(error) = Policy::from_source(&mut files, &["/p"], Path::new("/legacy")) {
            prop_assert!(error.line.is_some() && error.column.is_some(), "{}", error);
            // A word of the file does not bring its control characters into the message.
            prop_assert!(error.to_string().bytes().all(|byte| (b' '..0x7f).contains(&byte)) || !text.is_ascii());
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(request) = Request::parse(&bytes) {
            prop_assert_eq!(Request::parse(&request.to_bytes()), Ok(request));
        }
        if let Ok(reply) = Reply::parse(&bytes) {
            prop_assert_eq!(Reply::parse(&reply.to_bytes()), Ok(reply));
        }
        if let Ok(system) = SystemInfo::from_json(&bytes) {
            prop_assert_eq!(SystemInfo::from_json(&system.to_json()), Ok(system));
        }
    }

    #[test]
    fn messages_survive_the_round_trip(
        texts in proptest::collection::vec("[!-~]{0,20}", 7),
        has in proptest::array::uniform3(any::<bool>()),
        flags in proptest::array::uniform3(any::<bool>()),
    ) {
        let text = |index: usize| texts[index].clone();
        let request = Request {
            source: text(0),
            intended_target: text(1),
            service_and_arg: text(2),
            requested_source: has[0].then(|| text(3)),
            assume_yes_for_ask: flags[0],
            just_evaluate: flags[1],
        };
        prop_assert!(Request::is_complete(&request.to_bytes()));
        prop_assert_eq!(Request::parse(&request.to_bytes()), Ok(request));
        let reply = Reply::Allow(Grant {
            user: text(0),
            target: text(1),
            target_uuid: has[0].then(|| text(2)),
            autostart: flags[2],
            requested_target: text(3),
            service: has[1].then(|| text(4)),
            policy_source: has[2].then(|| text(5)),
        });
        prop_assert_eq!(Reply::parse(&reply.to_bytes()), Ok(reply));
    }

    #[test]
    fn system_information_survives_the_round_trip(json in system()) {
        let system = SystemInfo::from_json(json.to_string().as_bytes()).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&system.to_json()).unwrap(), json);
    }
}
