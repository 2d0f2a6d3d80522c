//! The policy server over its real socket.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Site, exchange};

fn ask(site: &Site, source: &str, target: &str, service: &str) -> String {
    let question = format!("source={source}\nintended_target={target}\nservice_and_arg={service}\n\n");
    String::from_utf8(exchange(&site.layout.policy_socket(), question.as_bytes())).unwrap()
}

#[test]
fn decisions_are_answered_and_told() {
    let site = Site::new();
    let answer = ask(&site, "work", "@dispvm", "qubes.OpenInVM");
    assert!(
        answer.contains("result=allow\ntarget=dom0\n") || answer.contains("result=allow\ntarget=@adminvm\n"),
        "{answer}"
    );
    let told = site.step("allowed");
    assert!(told.text.contains("allowed by 80-dispvm.policy:"), "{}", told.text);
    assert_eq!(told.data["file"], "80-dispvm.policy");
    assert!(told.data["line"].as_u64().unwrap() > 0);
    assert_eq!(ask(&site, "work", "vault", "qubes.OpenInVM"), "result=deny");
    assert!(site.step("denied").text.contains("nobody can be"));
    assert_eq!(ask(&site, "work", "@adminvm", "qubes.OpenInVM"), "result=deny");
    let denied = site.step("denied").text;
    assert!(denied.contains("80-dispvm.policy"), "{denied}");
    assert_eq!(ask(&site, "nosuch\u{1b}", "x", "y"), "result=deny");
    assert!(site.step("denied").text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "promise P7");
    for bad in ["", "source=a\n\n", "source=a\nsource=b\nintended_target=\nservice_and_arg=x\n\n"] {
        assert_eq!(exchange(&site.layout.policy_socket(), bad.as_bytes()), b"", "{bad:?}");
    }
}

#[test]
fn files_are_read_anew_when_they_change_and_the_runtime_directory_ranks_above() {
    let site = Site::with(|config| {
        config.policy = vec![("20-run.policy".into(), "test.Here * work vault allow\n".into())];
    });
    assert!(ask(&site, "work", "vault", "test.Here").contains("result=allow"));
    assert_eq!(ask(&site, "work", "vault", "test.There"), "result=deny");
    assert!(site.step("denied").text.contains("test.There"));
    std::fs::write(site.layout.policy().join("30-user.policy"), "test.There * work vault allow\n").unwrap();
    assert!(ask(&site, "work", "vault", "test.There").contains("target=vault"));
    std::fs::write(site.layout.policy().join("30-user.policy"), "test.There * work\n").unwrap();
    assert_eq!(ask(&site, "work", "vault", "test.Here"), "result=deny", "a broken file denies all");
    assert!(site.step("denied").text.contains("30-user.policy:1"));
}

#[test]
fn system_info_in_decisions_is_live() {
    let site = Site::with(|config| {
        config.policy = vec![("20-run.policy".into(), "test.Here * work @tag:x allow\n".into())];
    });
    assert_eq!(ask(&site, "work", "vault", "test.Here"), "result=deny");
    site.text("admin.vm.tag.Set", "x", "vault", b"");
    assert!(ask(&site, "work", "vault", "test.Here").contains("result=allow"));
}

#[test]
fn switches_of_a_question() {
    let site = Site::with(|config| {
        config.policy =
            vec![("20-run.policy".into(), "test.Ask * work vault ask\ntest.Yes * work vault allow\n".into())];
    });
    let ask = |service: &str, switch: &str| {
        let text = format!("source=work\nintended_target=vault\nservice_and_arg={service}\n{switch}=yes\n\n");
        String::from_utf8(exchange(&site.layout.policy_socket(), text.as_bytes())).unwrap()
    };
    assert!(ask("test.Ask", "assume_yes_for_ask").contains("target=vault"));
    assert_eq!(ask("test.Ask", "just_evaluate"), "result=deny");
    assert_eq!(ask("test.Yes", "just_evaluate"), "result=allow");
}

#[test]
fn a_policy_agent_is_told_where_a_rule_says_so() {
    let site = Site::with(|config| {
        let rules = "test.Loud * work vault allow notify=yes\ntest.Quiet * work vault allow\n\
            test.No * work vault deny\ntest.NoQuiet * work vault deny notify=no\n";
        config.policy = vec![("20-run.policy".into(), rules.into())];
    });
    let listener = os::socket::listen(&site.layout.services().join("policy.Notify")).unwrap();
    let agent = std::thread::spawn(move || {
        [(); 2].map(|()| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut told = String::new();
            std::io::Read::read_to_string(&mut stream, &mut told).unwrap();
            told
        })
    });
    for service in ["test.Quiet", "test.NoQuiet", "test.Loud", "test.No"] {
        ask(&site, "work", "vault", service);
    }
    let mut told = agent.join().unwrap();
    // Nobody waits for one to be read before the next is told.
    told.sort();
    for (told, service, resolution) in [(&told[0], "test.Loud", "allow"), (&told[1], "test.No", "deny")] {
        let json = told.strip_prefix("policy.Notify dom0 name dom0\0").unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            (json["service"].as_str(), json["resolution"].as_str()),
            (Some(service), Some(resolution))
        );
        assert_eq!((json["source"].as_str(), json["target"].as_str()), (Some("work"), Some("vault")));
    }
}

#[test]
fn a_qube_may_ask_what_would_be_allowed_where_a_rule_lets_it() {
    let site = Site::with(|config| {
        let rules = "policy.EvalSimple +test.Secret * * deny\npolicy.EvalSimple * work @adminvm allow\n\
            policy.EvalGUI * work @adminvm allow\n\
            test.Ask * vault work ask\ntest.Yes * vault work allow\ntest.Yes * work @dispvm allow\n";
        config.policy = vec![("20-run.policy".into(), rules.into())];
    });
    let eval = |service: &str, descriptor: &str, input: &[u8]| {
        let question = [descriptor.as_bytes(), b"\0", input].concat();
        String::from_utf8(exchange(&site.layout.services().join(service), &question)).unwrap()
    };
    let simple = |query: &str, input: &[u8]| {
        eval("policy.EvalSimple", &format!("policy.EvalSimple+{query} work name dom0"), input)
    };
    assert_eq!(simple("test.Yes", b"vault\0work"), "result=allow\n");
    assert_eq!(simple("test.Yes+x", b"work\0@dispvm"), "result=allow\n");
    assert_eq!(simple("test.Ask", b"vault\0work"), "result=allow\n", "a question counts as yes");
    assert_eq!(simple("test.Other", b"vault\0work"), "result=deny\n");
    assert_eq!(simple("test.Yes", b"nosuch\0work"), "result=deny\n");
    assert_eq!(simple("", b"vault\0work"), "");
    assert_eq!(simple("test.Yes", &[b'a'; 500]), "");
    let gui = || eval("policy.EvalGUI", "policy.EvalGUI+test.Yes work name dom0", b"vault\0work");
    assert_eq!(gui(), "", "it draws the windows of neither");
    site.text("admin.vm.tag.Set", "guivm-work", "vault", b"");
    assert_eq!(gui(), "");
    site.text("admin.vm.tag.Set", "guivm-work", "work", b"");
    assert_eq!(gui(), "result=allow\n");

    // The whole way, from a qube.
    site.host.start_qube("work").unwrap();
    let call = |service: &str| {
        let line = format!("printf 'vault\\0work' | qrexec-client-vm dom0 {service}");
        let mut exec = std::process::Command::new(common::EXECUTABLE);
        exec.args(["exec", "--state"]).arg(site.layout.state()).args(["work", "--", "sh", "-c", &line]);
        let output = exec.stdin(std::process::Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(call("policy.EvalSimple+test.Yes"), (Some(0), "result=allow\n".into()));
    assert_eq!(call("policy.EvalSimple+test.Other"), (Some(0), "result=deny\n".into()));
    assert_eq!(call("policy.EvalSimple+test.Secret").0, Some(126));
}
