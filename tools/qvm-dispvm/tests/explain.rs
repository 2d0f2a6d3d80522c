//! `qvm-dispvm policy explain` as a process, beside a real socket and a real queue.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use disposable::entry::Entry;
use disposable::queue::{KeeperLock, Queue};
use names::{DomId, Generation, QubeName, Uuid};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const SYSTEM: &str = r#"{"domains":{
    "dom0":{"type":"AdminVM","tags":[],"template_for_dispvms":false,"uuid":"00000000-0000-0000-0000-000000000000"},
    "work":{"type":"AppVM","tags":[],"template_for_dispvms":false,"default_dispvm":"dvm","guivm":"dom0","power_state":"Running","uuid":"00000000-0000-4000-8000-000000000001"},
    "vault":{"type":"AppVM","tags":[],"template_for_dispvms":false,"default_dispvm":null,"guivm":null,"power_state":"Halted","uuid":"00000000-0000-4000-8000-000000000002"},
    "dvm":{"type":"AppVM","tags":["open-in-disposable"],"template_for_dispvms":true,"default_dispvm":null,"uuid":"00000000-0000-4000-8000-000000000003"},
    "other":{"type":"AppVM","tags":["open-in-disposable"],"template_for_dispvms":true,"default_dispvm":null,"uuid":"00000000-0000-4000-8000-000000000004"}
}}"#;

/// The state directory of a host, with a qubesd that answers one question after the other.
struct State {
    directory: tempfile::TempDir,
}

impl State {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = Self { directory };
        for path in ["run/policy.d", "etc/policy.d", "etc/qubes", "run/dispvm"] {
            std::fs::create_dir_all(state.path().join(path)).unwrap();
        }
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy.d/80-dispvm.policy");
        std::fs::copy(shipped, state.path().join("etc/policy.d/80-dispvm.policy")).unwrap();
        let socket = state.path().join("run/qubesd.internal.sock");
        let config = format!(
            "queue = \"{}\"\nqubesd-internal-socket = \"{}\"\n",
            state.queue().display(),
            socket.display()
        );
        std::fs::write(state.path().join("etc/qubes/dispvm.toml"), config).unwrap();
        let listener = os::socket::listen(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut question = Vec::new();
                stream.read_to_end(&mut question).unwrap();
                assert!(question.starts_with(b"internal.GetSystemInfo"));
                stream.write_all(&[b"0\0", SYSTEM.as_bytes()].concat()).unwrap();
            }
        });
        state
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn queue(&self) -> PathBuf {
        self.path().join("run/dispvm")
    }

    fn explain(&self, source: &str, target: &str) -> (String, Option<i32>) {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_qvm-dispvm"))
            .args([
                "policy",
                "explain",
                "--state",
                self.path().to_str().unwrap(),
                source,
                "qubes.OpenInVM",
                target,
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (text, output.status.code())
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn from_the_rule_to_the_preloaded_disposable() {
    let state = State::new();
    let (text, exit) = state.explain("work", "@dispvm");
    assert_eq!(exit, Some(0), "{text}");
    has(
        &text,
        &[
            "qubes.OpenInVM+ from work to @dispvm\n",
            "qubes.OpenInVM * @anyvm @adminvm deny\n",
            "its target @adminvm is not @dispvm (a disposable of dvm)",
            "decides",
            "allow target=@adminvm\n",
            "@dispvm is a disposable of dvm (uuid 00000000-0000-4000-8000-000000000003)",
            "no keeper is running",
        ],
    );

    let keeper = KeeperLock::take(&state.queue()).unwrap();
    assert!(keeper.is_some());
    has(&state.explain("work", "@dispvm").0, &["no: none waits", "preload-dispvm-max"]);
    let template: QubeName = "dvm".parse().unwrap();
    let queue = Queue::create(&state.queue(), &template, Duration::from_secs(5)).unwrap();
    for (number, generation) in [(1u16, 0), (2, 0), (3, 7)] {
        let entry = Entry {
            name: format!("disp{number}").parse().unwrap(),
            uuid: Uuid::from_random([9; 16]),
            domid: DomId::try_from(u32::from(number)).unwrap(),
            template: template.clone(),
            generation: Generation(generation),
            created: 0,
            claimer: None,
        };
        let reservation = queue.reserve(&number.to_string(), 9).unwrap().unwrap();
        queue.note(&reservation, &entry).unwrap();
        assert!(queue.enqueue(&reservation).unwrap());
    }
    has(&state.explain("work", "@dispvm").0, &["yes: 2 preloaded: disp1, disp2\n"]);
    queue.bump_generation().unwrap();
    has(&state.explain("work", "@dispvm").0, &["no: 0 being made, 3 out of date"]);
}

#[test]
fn p8_what_the_policy_allows_and_dom0_refuses_is_denied() {
    let state = State::new();
    let (text, exit) = state.explain("vault", "@dispvm");
    assert_eq!(exit, Some(1), "{text}");
    has(&text, &["refused", "default_dispvm is empty", "qvm-prefs vault default_dispvm TEMPLATE"]);
    let (text, exit) = state.explain("vault", "@dispvm:@tag:open-in-disposable");
    assert_eq!(exit, Some(1), "{text}");
    has(&text, &["several have it: dvm, other", "tag-choice"]);
    let (text, exit) = state.explain("work", "@dispvm:@tag:open-in-disposable");
    assert_eq!(exit, Some(0), "{text}");
    has(&text, &["is a disposable of dvm"]);
    let (text, exit) = state.explain("work", "@dispvm:vault");
    assert_eq!(exit, Some(1), "{text}");
    has(&text, &["denied", "remedy", "qvm-prefs vault template_for_dispvms True"]);
}

#[test]
fn questions_list_what_can_be_chosen() {
    let state = State::new();
    let (text, exit) = state.explain("work", "nosuch");
    assert_eq!(exit, Some(2), "{text}");
    has(
        &text,
        &[
            "(no such qube: taken as @default)",
            "no disposable is taken or made before",
            "@dispvm:dvm\n",
            "vault\n",
        ],
    );
    let (text, exit) = state.explain("vault", "");
    assert_eq!(exit, Some(2), "{text}");
    has(&text, &["vault has no guivm"]);
}

#[test]
fn p9_remedies_for_what_is_broken() {
    let state = State::new();
    let (text, exit) = state.explain("dom0", "@dispvm");
    assert_eq!(exit, Some(1), "{text}");
    has(&text, &["no rule allows it", "30-user.policy: qubes.OpenInVM * dom0 @dispvm allow target=@adminvm"]);
    std::fs::write(state.path().join("etc/policy.d/30-user.policy"), "qubes.OpenInVM * work\n").unwrap();
    let (text, exit) = state.explain("work", "@dispvm");
    assert_eq!(exit, Some(1), "{text}");
    has(&text, &["30-user.policy:1:18", "correct that line"]);
    std::fs::remove_file(state.path().join("run/qubesd.internal.sock")).unwrap();
    let (text, exit) = state.explain("work", "@dispvm");
    assert_eq!(exit, Some(125), "{text}");
    has(&text, &["is \"qubes-host serve\" running there?"]);
    std::fs::remove_dir_all(state.path().join("etc")).unwrap();
    assert_eq!(state.explain("work", "@dispvm").1, Some(125));
}

#[test]
fn p7_no_control_byte_reaches_the_terminal() {
    let state = State::new();
    let (text, _) = state.explain("work\x1b[31m", "\x07vault");
    assert!(text.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)), "{text:?}");
}
