//! `qvm-dispvm policy eval` as a process, on the recorded decisions of the reference implementation.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qvm-dispvm"))
        .args(words)
        .env_remove("QUBES_DISPVM_CONFIG")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A policy directory of its own with one file, and the system information of the vectors.
fn place(rules: &str) -> (tempfile::TempDir, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.d");
    std::fs::create_dir(&policy).unwrap();
    std::fs::write(policy.join("30-test.policy"), rules).unwrap();
    let system = directory.path().join("system.json");
    std::fs::write(&system, vectors("policy-vectors.json")["system_infos"]["base"].to_string()).unwrap();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    (directory, text(policy), text(system))
}

fn vectors(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lib/policy/tests").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_recorded_decision_over_the_command_line() {
    let mut counts = [0; 3];
    for file in ["policy-vectors.json", "policy-vectors-more.json"] {
        let vectors = vectors(file);
        for case in vectors["cases"].as_array().unwrap() {
            counts[usize::from(check(case, &vectors["system_infos"]))] += 1;
        }
    }
    assert!(counts.iter().sum::<usize>() > 300 && counts.iter().all(|&count| count > 20), "{counts:?}");
}

fn check(case: &Value, systems: &Value) -> u8 {
    let directory = tempfile::tempdir().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut words: Vec<String> = ["policy", "eval"].map(String::from).to_vec();
    for rank in ["runtime", "etc"] {
        let path = directory.path().join(rank);
        std::fs::create_dir(&path).unwrap();
        for (name, content) in case["policy"][rank].as_object().unwrap() {
            let file = path.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text(content)).unwrap();
        }
        words.extend(["--policy-dir".into(), path.to_str().unwrap().into()]);
    }
    let system = directory.path().join("system.json");
    std::fs::write(&system, systems[text(&case["system_info"])].to_string()).unwrap();
    words.extend(["--system-info".into(), system.to_str().unwrap().into()]);
    let request = &case["request"];
    if let Some(source) = request["requested_source"].as_str().filter(|name| !name.is_empty()) {
        words.extend(["--requested-source".into(), source.into()]);
    }
    let service = format!("{}{}", text(&request["service"]), text(&request["argument"]));
    words.extend(["--".into(), text(&request["source"]), service, text(&request["target"])]);
    let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>());

    let (id, expect) = (&case["id"], &case["expect"]);
    let lines =
        |value: &Value| value.as_array().unwrap().iter().map(|line| text(line) + "\n").collect::<String>();
    let exit = match expect["outcome"].as_str().unwrap() {
        "allow" => {
            assert_eq!(out(&output), lines(&expect["response"]), "{id}");
            0
        }
        "ask" => {
            for (choice, answer) in expect["answers"].as_object().unwrap() {
                let lines = if answer.is_array() { lines(answer) } else { "result=deny\n".into() };
                assert!(
                    out(&output).contains(&format!("\nchoice={choice}\n{lines}")),
                    "{id} {choice}: {}",
                    out(&output)
                );
            }
            2
        }
        _ => {
            assert_eq!(out(&output), "result=deny\n", "{id}");
            assert!(errors(&output).starts_with("denied: "), "{id}: {}", errors(&output));
            1
        }
    };
    assert_eq!(output.status.code(), Some(i32::from(exit)), "{id}: {}", errors(&output));
    exit
}

#[test]
fn directories_rank_in_their_order() {
    let (_first, allows, system) = place("test.S * work vault allow");
    let (_second, denies, _) = place("test.S * work vault deny");
    for (one, other, exit) in [(&allows, &denies, 0), (&denies, &allows, 1)] {
        let words = ["policy", "eval", "--policy-dir", one, "--policy-dir", other, "--system-info", &system];
        let output = run(&[&words[..], &["work", "test.S", "vault"]].concat());
        assert_eq!(
            output.status.code(),
            Some(exit),
            "the first hides the file of the same name in the second"
        );
    }
}

#[test]
fn a_broken_file_denies_all_and_names_its_place() {
    let (_directory, policy, system) = place("test.S * work vault allow\ntest.S * work @dispwm allow\n");
    let output = run(&[
        "policy",
        "eval",
        "--policy-dir",
        &policy,
        "--system-info",
        &system,
        "work",
        "test.S",
        "vault",
    ]);
    assert_eq!((output.status.code(), &*out(&output)), (Some(1), "result=deny\n"));
    assert!(errors(&output).contains("30-test.policy:2:15: \"@dispwm\""), "{}", errors(&output));
}

#[test]
fn tags_as_targets_only_when_asked_for() {
    let (_directory, policy, system) = place("test.S * work @dispvm:@tag:disp-ok allow target=@adminvm");
    let base = ["policy", "eval", "--policy-dir", &policy, "--system-info", &system];
    let call = ["work", "test.S", "@dispvm:@tag:disp-ok"];
    assert_eq!(run(&[&base[..], &call].concat()).status.code(), Some(1));
    let output = run(&[&base[..], &["--tag-targets"], &call].concat());
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).ends_with("requested_target=@dispvm:@tag:disp-ok\n"));
}

#[test]
fn p9_trouble_is_neither_yes_nor_no() {
    let (directory, policy, _) = place("");
    let call = ["work", "test.S", "vault"];
    let missing =
        run(&[&["policy", "eval", "--policy-dir", &policy, "--system-info", "/nosuch"][..], &call].concat());
    assert_eq!((missing.status.code(), &*out(&missing)), (Some(125), ""));
    assert!(errors(&missing).contains("cannot read /nosuch"), "{}", errors(&missing));
    let broken = directory.path().join("broken.json");
    std::fs::write(&broken, "{\"domains\": {\"work\": {}}}").unwrap();
    let broken = run(&[
        &["policy", "eval", "--policy-dir", &policy, "--system-info", broken.to_str().unwrap()][..],
        &call,
    ]
    .concat());
    assert_eq!(broken.status.code(), Some(125));
    assert!(errors(&broken).contains("type of work"), "{}", errors(&broken));
    let usage = run(&["policy", "eval", "work"]);
    assert_eq!(usage.status.code(), Some(64));
    assert_eq!(errors(&usage).lines().count(), 1, "{}", errors(&usage));
}
