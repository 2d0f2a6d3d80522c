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
