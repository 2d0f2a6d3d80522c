//! What is tried, and what must hold.

use crate::mangle::mangle;
use crate::opened;
use crate::random::Random;
use policy::protocol::{AgentAnswer, Reply, Request};
use policy::{Call, Decision, Options, Policy, PolicySource, SourceError, SystemInfo};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A parser under test: the name of its corpus, and what is tried with it.
pub(crate) type Target = (&'static str, fn(&mut Random, &[Vec<u8>], bool));

pub(crate) const TARGETS: [Target; 8] = [
    ("policy", policy),
    ("request", request),
    ("reply", reply),
    ("system", system),
    ("answer", answer),
    ("open-file", opened::file),
    ("open-url", opened::url),
    ("open-reply", opened::reply),
];

pub(crate) fn show(wanted: bool, name: &str, bytes: &[u8]) {
    if wanted {
        eprintln!("{name}: {}", bytes.escape_ascii());
    }
}

fn policy(random: &mut Random, corpus: &[Vec<u8>], is_shown: bool) {
    let mut files = Memory::default();
    for path in
        ["/run/30-a.policy", "/etc/30-a.policy", "/etc/40-b.policy", "/etc/include/x", "/legacy/test.S"]
    {
        if random.below(3) > 0 {
            let text = mangle(random, corpus);
            show(is_shown, path, &text);
            files.0.insert(path.into(), text);
        }
    }
    files.0.entry("/run/10-empty.policy".into()).or_default();
    files.0.entry("/etc/10-empty.policy".into()).or_default();
    let legacy = Path::new("/legacy");
    let policy = match Policy::from_source(&mut files, &["/run", "/etc"], legacy) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "an error is one line: {error}");
            return;
        }
    };
    let lines: Vec<String> = policy.rules().iter().map(ToString::to_string).collect();
    let mut written = Memory::default();
    written.0.insert("/p/1.policy".into(), lines.join("\n").into_bytes());
    match Policy::from_source(&mut written, &["/p"], legacy) {
        Ok(again) => {
            assert_eq!(lines, again.rules().iter().map(ToString::to_string).collect::<Vec<_>>());
            assert!(policy.rules().iter().zip(again.rules()).all(|(one, other)| one.action == other.action));
        }
        Err(error) => panic!("rules written as lines are refused: {error}"),
    }
    decide(random, &policy);
}

fn decide(random: &mut Random, policy: &Policy) {
    let Ok(system) = SystemInfo::from_json(SYSTEM) else { panic!("the system information is broken") };
    let names = [
        "work",
        "vault",
        "dvm",
        "dom0",
        "gone",
        "remote",
        "nosuch",
        "uuid:00000000-0000-4000-8000-000000000002",
    ];
    let targets = [
        "",
        "@default",
        "@dispvm",
        "@dispvm:dvm",
        "@dispvm:vault",
        "@adminvm",
        "@anyvm",
        "@dispvm:@tag:x",
        "*",
    ];
    for _ in 0..8 {
        let target = if random.below(2) == 0 { random.pick(&targets) } else { random.pick(&names) };
        let service = random.pick(&["test.S", "test.S+", "test.S+a", "other", ""]);
        let call = Call::new(random.pick(&names), service, target);
        let options = Options { accept_tag_targets: random.below(2) == 0 };
        let decision = policy.evaluate(&call, &system, options);
        let explained = policy.explain(&call, &system, options);
        assert_eq!(explained.decision, decision);
        assert_eq!(explained.rule.map(|rule| &rule.origin), decision.rule());
        let reply = decision.reply();
        assert_eq!(Reply::parse(&reply.to_bytes()), Ok(reply));
        if let Decision::Ask(ask) = &decision {
            assert!(!ask.targets.is_empty());
            assert!(ask.default_target.as_ref().is_none_or(|target| ask.targets.contains(target)));
            assert!(serde_json::from_slice::<serde_json::Value>(&ask.to_json(&system)).is_ok());
            for choice in &ask.targets {
                let reply = ask.answer(choice, &system).reply();
                assert_eq!(Reply::parse(&reply.to_bytes()), Ok(reply));
            }
            assert!(!ask.answer("nobody-offered-this", &system).is_allowed());
        }
    }
}

fn request(random: &mut Random, corpus: &[Vec<u8>], is_shown: bool) {
    let text = mangle(random, corpus);
    show(is_shown, "request", &text);
    if let Ok(request) = Request::parse(&text) {
        assert_eq!(Request::parse(&request.to_bytes()), Ok(request));
    }
}

fn reply(random: &mut Random, corpus: &[Vec<u8>], is_shown: bool) {
    let text = mangle(random, corpus);
    show(is_shown, "reply", &text);
    if let Ok(reply) = Reply::parse(&text) {
        assert_eq!(Reply::parse(&reply.to_bytes()), Ok(reply));
    }
}

fn system(random: &mut Random, corpus: &[Vec<u8>], is_shown: bool) {
    let text = mangle(random, corpus);
    show(is_shown, "system", &text);
    match SystemInfo::from_json(&text) {
        Ok(system) => {
            // What is skipped is not looked at so closely: half a surrogate pair, a number above all numbers.
            if let Err(error) = serde_json::from_slice::<serde_json::Value>(&text) {
                let error = error.to_string();
                let is_passed_over =
                    ["surrogate", "hex escape", "out of range"].iter().any(|word| error.contains(word));
                assert!(is_passed_over, "taken, but no JSON: {error}");
            }
            assert_eq!(SystemInfo::from_json(&system.to_json()), Ok(system));
        }
        Err(error) => drop(error.to_string()),
    }
}

fn answer(random: &mut Random, corpus: &[Vec<u8>], is_shown: bool) {
    let text = mangle(random, corpus);
    show(is_shown, "answer", &text);
    if let AgentAnswer::Allow(target) = AgentAnswer::parse(&text) {
        assert!(target.is_ascii());
    }
}

/// Files that exist only here.
#[derive(Default)]
struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl PolicySource for Memory {
    fn list(&mut self, directory: &Path) -> Result<Vec<OsString>, SourceError> {
        if !self.0.keys().any(|path| path.starts_with(directory) && path != directory) {
            return Err(SourceError::Absent);
        }
        let here = self.0.keys().filter(|path| path.parent() == Some(directory));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_owned())).collect())
    }

    fn read(&mut self, file: &Path, limit: usize) -> Result<Vec<u8>, SourceError> {
        let bytes = self.0.get(&self.resolve(file)).ok_or(SourceError::Absent)?;
        if bytes.len() > limit { Err(SourceError::TooLarge) } else { Ok(bytes.clone()) }
    }
}

const SYSTEM: &[u8] = include_bytes!("../corpus/system/small.json");
