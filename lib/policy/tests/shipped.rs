//! The rules in policy.d decide as their comments say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use policy::protocol::Request;
use policy::{Call, Decision, DenyReason, Options, Policy, QubeInfo, SystemInfo};
use std::path::{Path, PathBuf};

#[derive(Debug, PartialEq)]
enum Outcome {
    /// dom0's own program serves it.
    Provider,
    /// The call goes straight to this target.
    Direct(&'static str),
    Ask,
    /// Denied by a rule.
    Rule,
    NoRule,
    NotATemplate,
    NotATarget,
    NotByTag,
}
use Outcome::{Ask, Direct, NoRule, NotATarget, NotATemplate, NotByTag, Provider, Rule};

const IN_VM: &str = "qubes.OpenInVM";
const URL: &str = "qubes.OpenURL";

#[test]
fn on_qubes_os() {
    let policy = load(&[shipped().as_path()]);
    let table = [
        (IN_VM, "work", "@dispvm", Provider),
        (URL, "work", "@dispvm", Provider),
        ("qubes.OpenInVM+x", "work", "@dispvm", Provider),
        (IN_VM, "disp1", "@dispvm", Provider),
        // No default_dispvm: dom0's program says so to its log, and refuses (P8).
        (IN_VM, "bare", "@dispvm", Provider),
        (IN_VM, "bare", "@dispvm:tagged-dvm", Provider),
        (IN_VM, "work", "@dispvm:tagged-dvm", Provider),
        (URL, "work", "@dispvm:tagged-dvm", Provider),
        (IN_VM, "work", "@dispvm:uuid:00000000-0000-4000-8000-000000000004", Provider),
        (IN_VM, "work", "@dispvm:default-dvm", Ask),
        (URL, "work", "@dispvm:default-dvm", Ask),
        (IN_VM, "work", "vault", Ask),
        (IN_VM, "work", "tagged-dvm", Ask),
        (IN_VM, "work", "", Ask),
        (IN_VM, "work", "nosuch", Ask),
        (IN_VM, "work", "@dispvm:nosuch", NotATemplate),
        (IN_VM, "work", "@dispvm:vault", NotATemplate),
        (IN_VM, "work", "@dispvm:@tag:open-in-disposable", NotATarget),
        (IN_VM, "work", "@anyvm", NotATarget),
        (IN_VM, "work", "dom0", Rule),
        (URL, "work", "@adminvm", Rule),
        (IN_VM, "dom0", "@dispvm", NoRule),
        ("qubes.OpenInVM2", "work", "@dispvm", NoRule),
        ("qubes.VMShell", "work", "@dispvm", NoRule),
    ];
    for (service, source, target, expected) in table {
        assert_eq!(
            decide(&policy, service, source, target, false),
            expected,
            "{service} {source} -> {target}"
        );
    }
}

#[test]
fn on_the_embedded_host() {
    let policy = load(&[&shipped(), &shipped().join("embedded")]);
    let table = [
        (IN_VM, "work", "@dispvm", Provider),
        (IN_VM, "bare", "@dispvm", Provider),
        (IN_VM, "work", "@dispvm:default-dvm", Provider),
        (URL, "work", "@dispvm:default-dvm", Provider),
        (IN_VM, "bare", "@dispvm:uuid:00000000-0000-4000-8000-000000000003", Provider),
        (IN_VM, "work", "@dispvm:tagged-dvm", Provider),
        (IN_VM, "work", "@dispvm:@tag:open-in-disposable", Provider),
        (URL, "bare", "@dispvm:@tag:open-in-disposable", Provider),
        (IN_VM, "work", "@dispvm:plain-dvm", Ask),
        // The rule that asks is the one that fits a tag nobody allowed; it does not lead to dom0.
        (IN_VM, "work", "@dispvm:@tag:other", NotByTag),
        (IN_VM, "work", "@dispvm:@tag:", NotATarget),
        (IN_VM, "work", "@dispvm:@tag:a b", NotATarget),
        (IN_VM, "work", "@dispvm:nosuch", NotATemplate),
        (IN_VM, "work", "vault", Ask),
        (IN_VM, "work", "dom0", Rule),
    ];
    for (service, source, target, expected) in table {
        assert_eq!(
            decide(&policy, service, source, target, true),
            expected,
            "{service} {source} -> {target}"
        );
    }
    assert_eq!(decide(&policy, IN_VM, "work", "@dispvm:@tag:open-in-disposable", false), NotATarget);
}

#[test]
fn a_question_offers_everything_but_dom0() {
    let policy = load(&[shipped().as_path()]);
    let call = Call::new("work", IN_VM, "vault");
    let Decision::Ask(ask) = policy.evaluate(&call, &system(), Options::default()) else { panic!() };
    assert_eq!(
        ask.targets,
        [
            "@dispvm:default-dvm",
            "@dispvm:plain-dvm",
            "@dispvm:tagged-dvm",
            "bare",
            "default-dvm",
            "disp1",
            "plain-dvm",
            "tagged-dvm",
            "vault"
        ]
    );
}

#[test]
fn a_request_is_answered_as_its_switches_say() {
    let policy = load(&[shipped().as_path()]);
    let system = system();
    let answer = |target: &str, assume_yes_for_ask, just_evaluate| {
        let request = Request {
            source: "work".to_owned(),
            intended_target: target.to_owned(),
            service_and_arg: IN_VM.to_owned(),
            requested_source: None,
            assume_yes_for_ask,
            just_evaluate,
        };
        let decision = policy.evaluate(&request.call(), &system, Options::default());
        String::from_utf8(request.answer(&request.settle(decision, &system))).unwrap()
    };
    let to_dom0 = "user=DEFAULT\nresult=allow\ntarget=dom0\nautostart=True\nrequested_target=@dispvm";
    let to_vault = "user=DEFAULT\nresult=allow\ntarget=vault\ntarget_uuid=uuid:00000000-0000-4000-8000-000000000002\n\
                    autostart=True\nrequested_target=vault";
    for (target, assume_yes, just_evaluate, expected) in [
        ("@dispvm", false, false, to_dom0),
        ("@dispvm", false, true, "result=allow"),
        ("vault", false, false, "result=deny"),
        ("vault", false, true, "result=deny"),
        ("vault", true, false, to_vault),
        ("vault", true, true, "result=allow"),
        // Nothing was named, so there is nothing to agree to.
        ("", true, false, "result=deny"),
        ("dom0", true, true, "result=deny"),
    ] {
        assert_eq!(
            answer(target, assume_yes, just_evaluate),
            expected,
            "{target} {assume_yes} {just_evaluate}"
        );
    }
}

#[test]
fn the_users_own_file_wins() {
    let own = tempfile::tempdir().unwrap();
    let rules = "qubes.OpenInVM * work @dispvm deny\n\
                 qubes.OpenInVM * work @dispvm:plain-dvm allow target=@adminvm\n\
                 qubes.OpenInVM * work @dispvm:default-dvm allow\n\
                 qubes.OpenURL * work @dispvm ask default_target=@dispvm\n";
    std::fs::write(own.path().join("30-user.policy"), rules).unwrap();
    let policy = load(&[&shipped(), own.path()]);
    assert_eq!(decide(&policy, IN_VM, "work", "@dispvm", false), Rule);
    assert_eq!(decide(&policy, IN_VM, "work", "@dispvm:plain-dvm", false), Provider);
    assert_eq!(
        decide(&policy, IN_VM, "work", "@dispvm:default-dvm", false),
        Direct("@dispvm:uuid:00000000-0000-4000-8000-000000000003")
    );
    assert_eq!(decide(&policy, URL, "work", "@dispvm", false), Ask);
    assert_eq!(decide(&policy, IN_VM, "vault", "@dispvm", false), Provider);
}

#[test]
fn both_services_have_the_same_rules() {
    for directory in [shipped(), shipped().join("embedded")] {
        let policy = load(&[directory.as_path()]);
        let of = |service: &str| {
            let rules = policy.rules().iter().filter(|rule| rule.service.as_deref() == Some(service));
            rules
                .map(|rule| (rule.source.clone(), rule.target.clone(), rule.action.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(IN_VM), of(URL));
        let others = policy.rules().len() - of(IN_VM).len() * 2;
        assert_eq!(others, of("qubes.PdfConvert").len(), "81-pdf-convert.policy is all there is besides");
    }
}

fn decide(policy: &Policy, service: &str, source: &str, target: &str, accept_tag_targets: bool) -> Outcome {
    match policy.evaluate(&Call::new(source, service, target), &system(), Options { accept_tag_targets }) {
        Decision::Allow(allow) if allow.grant.is_for_dom0() => {
            assert_eq!(allow.grant.requested_target, target);
            Provider
        }
        Decision::Allow(allow) => Direct(allow.grant.socket_name().to_owned().leak()),
        Decision::Ask(_) => Ask,
        Decision::Deny(deny) => match deny.reason {
            DenyReason::ByRule => Rule,
            DenyReason::NoMatchingRule => NoRule,
            DenyReason::NotATemplate(_) => NotATemplate,
            DenyReason::NotATarget(_) => NotATarget,
            DenyReason::TagNeedsAdminVm(_) => NotByTag,
            other => panic!("{other}"),
        },
    }
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy.d")
}

fn load(directories: &[&Path]) -> Policy {
    Policy::load(directories).unwrap()
}

fn system() -> SystemInfo {
    let qube = |number: u8, name: &str, class: &str, default: Option<&str>, tags: &[&str]| QubeInfo {
        name: name.to_owned(),
        class: class.to_owned(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        template_for_dispvms: name.ends_with("-dvm"),
        default_dispvm: default.map(str::to_owned),
        power_state: "Running".to_owned(),
        uuid: Some(match number {
            0 => names::Uuid::DOM0,
            _ => format!("00000000-0000-4000-8000-{number:012}").parse().unwrap(),
        }),
        internal: None,
        icon: String::new(),
        label: String::new(),
        guivm: None,
        relayvm: None,
        transport_rpc: None,
    };
    let default = Some("default-dvm");
    SystemInfo::new([
        qube(0, "dom0", "AdminVM", default, &[]),
        qube(1, "work", "AppVM", default, &[]),
        qube(2, "vault", "AppVM", default, &[]),
        qube(3, "default-dvm", "AppVM", default, &[]),
        qube(4, "tagged-dvm", "AppVM", default, &["open-in-disposable"]),
        qube(5, "plain-dvm", "AppVM", default, &["other"]),
        qube(6, "disp1", "DispVM", default, &[]),
        qube(7, "bare", "AppVM", None, &[]),
    ])
    .unwrap()
}
