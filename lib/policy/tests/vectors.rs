//! Every recorded outcome of the reference implementation, compared with ours.
//!
//! `policy-vectors*.json` were recorded for this project by running the reference parser (see `_about` in each);
//! the policies and requests in them were written for this project.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use policy::{Call, Decision, Deny, DenyReason, LoadError, LoadErrorKind, Options, Policy, SystemInfo};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[test]
fn recorded_for_the_specification() {
    assert_eq!(
        run("policy-vectors.json"),
        BTreeMap::from([("allow", 51), ("ask", 17), ("deny", 66), ("exception", 5)])
    );
}

#[test]
fn recorded_in_addition() {
    assert_eq!(
        run("policy-vectors-more.json"),
        BTreeMap::from([("allow", 64), ("ask", 24), ("deny", 76), ("exception", 8)])
    );
}

fn run(file: &str) -> BTreeMap<&'static str, usize> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let systems: BTreeMap<&str, SystemInfo> = vectors["system_infos"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, info)| (name.as_str(), SystemInfo::from_json(info.to_string().as_bytes()).unwrap()))
        .collect();
    let mut counts = BTreeMap::new();
    for case in vectors["cases"].as_array().unwrap() {
        let case = Case { id: text(&case["id"]), json: case, system: &systems[text(&case["system_info"])] };
        *counts.entry(case.check()).or_insert(0) += 1;
    }
    counts
}

struct Case<'a> {
    id: &'a str,
    json: &'a Value,
    system: &'a SystemInfo,
}

/// The two directories, and the real paths that stand for them.
struct Directories {
    runtime: PathBuf,
    etc: PathBuf,
}

impl Case<'_> {
    /// Checks the case and returns which outcome it expects.
    fn check(&self) -> &'static str {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().canonicalize().unwrap();
        let directories = Directories { runtime: base.join("run"), etc: base.join("etc") };
        write_files(&directories.runtime, &self.json["policy"]["runtime"]);
        write_files(&directories.etc, &self.json["policy"]["etc"]);

        let expect = &self.json["expect"];
        let policy = match Policy::load(&[&directories.runtime, &directories.etc]) {
            Ok(policy) => policy,
            Err(error) => {
                self.check_load_error(&error, &directories);
                return if text(&expect["outcome"]) == "deny" { "deny" } else { "exception" };
            }
        };
        assert_ne!(expect["stage"], "load", "{}: should not load", self.id);

        let request = &self.json["request"];
        let call = Call {
            source: text(&request["source"]),
            requested_source: request["requested_source"].as_str(),
            service: text(&request["service"]),
            argument: text(&request["argument"]),
            target: text(&request["target"]),
        };
        let decision = policy.evaluate(&call, self.system, Options::default());
        match (text(&expect["outcome"]), &decision) {
            ("allow", Decision::Allow(allow)) => {
                assert_eq!(allow.to_reply(), lines(&expect["response"]), "{}", self.id);
                assert_eq!(allow.notify, expect["notify"].as_bool().unwrap(), "{}: notify", self.id);
                assert_eq!(allow.grant.requested_target, text(&expect["normalized_target"]), "{}", self.id);
                self.check_rule(&decision, &directories);
                "allow"
            }
            ("ask", Decision::Ask(ask)) => {
                let targets: Vec<&str> = expect["targets"].as_array().unwrap().iter().map(text).collect();
                assert_eq!(ask.targets, targets, "{}", self.id);
                assert_eq!(ask.default_target.as_deref(), expect["default_target"].as_str(), "{}", self.id);
                assert_eq!(
                    ask.user.as_deref(),
                    expect["user"].as_str().filter(|user| !user.is_empty()),
                    "{}",
                    self.id
                );
                assert_eq!(ask.autostart, expect["autostart"].as_bool().unwrap(), "{}", self.id);
                assert_eq!(ask.notify, expect["notify"].as_bool().unwrap(), "{}", self.id);
                assert_eq!(ask.requested_target(), text(&expect["normalized_target"]), "{}", self.id);
                self.check_rule(&decision, &directories);
                for (choice, answer) in expect["answers"].as_object().unwrap() {
                    match ask.answer(choice, self.system) {
                        Decision::Allow(allow) => {
                            assert_eq!(allow.to_reply(), lines(answer), "{} {choice}", self.id);
                        }
                        Decision::Deny(deny) if answer["deny"].is_string() => {
                            assert_eq!(upstream_text(&deny), text(&answer["deny"]), "{} {choice}", self.id);
                            assert_eq!(deny.notify, answer["notify"].as_bool().unwrap(), "{}", self.id);
                        }
                        Decision::Deny(deny) if answer["exception"].is_string() => {
                            assert!(!deny.notify, "{} {choice}: {deny}", self.id);
                        }
                        other => panic!("{} {choice}: {other:?}", self.id),
                    }
                }
                "ask"
            }
            ("deny", Decision::Deny(deny)) => {
                let message = text(&expect["message"]);
                assert_eq!(directories.shorten(&upstream_text(deny)), message, "{}", self.id);
                // A syntax error never reaches the user, whatever its flag (spec/policy.md, section 9).
                let notify =
                    expect["notify"].as_bool().unwrap() && expect["exception"] != "PolicySyntaxError";
                assert_eq!(deny.notify, notify, "{}: notify", self.id);
                self.check_rule(&decision, &directories);
                "deny"
            }
            ("exception", Decision::Deny(deny)) => {
                assert!(!deny.notify, "{}: {deny}", self.id);
                let known = match text(&expect["exception"]) {
                    "AttributeError" => matches!(deny.reason, DenyReason::NothingToCompare(_)),
                    "KeyError" | "AssertionError" => matches!(deny.reason, DenyReason::NoSuchQube(_)),
                    _ => false,
                };
                assert!(known, "{}: {deny} for {}", self.id, expect["exception"]);
                "exception"
            }
            (outcome, decision) => panic!("{}: expected {outcome}, got {decision:?}", self.id),
        }
    }

    fn check_rule(&self, decision: &Decision, directories: &Directories) {
        let rule = decision.rule().map(|rule| directories.shorten(&rule.to_string()));
        assert_eq!(rule.as_deref(), self.json["expect"]["rule"].as_str(), "{}: deciding rule", self.id);
    }

    fn check_load_error(&self, error: &LoadError, directories: &Directories) {
        let expect = &self.json["expect"];
        let exception = text(&expect["exception"]);
        if expect["outcome"] == "exception" {
            let known = match exception {
                "RecursionError" => matches!(error.kind, LoadErrorKind::IncludeCycle(_)),
                "UnicodeDecodeError" => error.kind == LoadErrorKind::NotText,
                _ => false,
            };
            assert!(known, "{}: {error} for {exception}", self.id);
            return;
        }
        assert_eq!(expect["stage"], "load", "{}: {error}", self.id);
        let (ours, theirs) = (directories.shorten(&upstream_load_text(error)), text(&expect["message"]));
        assert!(theirs.starts_with(&ours), "{}: {theirs:?} is not {ours:?}", self.id);
        assert_eq!(error.notify(), exception != "PolicySyntaxError", "{}: notify", self.id);
        if exception == "PolicySyntaxError" {
            self.check_column(error, directories);
        }
    }

    /// The column points at the word that the message speaks of.
    fn check_column(&self, error: &LoadError, directories: &Directories) {
        let name = directories.shorten(&error.file.display().to_string());
        let files = &self.json["policy"][if name.starts_with("<etc>/") { "etc" } else { "runtime" }];
        let content = text(&files[name.split_once('/').unwrap().1]);
        let line = content.lines().nth(error.line.unwrap() as usize - 1).unwrap();
        let rest: String = line.chars().skip(error.column.unwrap() as usize - 1).collect();
        let word = match &error.kind {
            LoadErrorKind::BadService(word)
            | LoadErrorKind::BadArgument(word)
            | LoadErrorKind::ArgumentWithoutPlus(word)
            | LoadErrorKind::ArgumentWithoutService(word)
            | LoadErrorKind::BadAction(word)
            | LoadErrorKind::NotAParameter(word)
            | LoadErrorKind::UnknownDirective(word)
            | LoadErrorKind::ParameterTwice(word)
            | LoadErrorKind::UnknownParameter { key: word, .. }
            | LoadErrorKind::NotYesNo { key: word, .. } => word.as_str(),
            LoadErrorKind::DefaultWithoutTarget => "allow",
            LoadErrorKind::BadToken { column, word } | LoadErrorKind::EmptyToken { column, word }
                if *column != "redirect" =>
            {
                word
            }
            _ => "",
        };
        assert!(rest.starts_with(word) && !rest.is_empty(), "{}: {error} points at {rest:?}", self.id);
    }
}

impl Directories {
    fn shorten(&self, message: &str) -> String {
        let one = message.replace(self.runtime.to_str().unwrap(), "<runtime>");
        one.replace(self.etc.to_str().unwrap(), "<etc>")
    }
}

/// The words that the reference implementation has for a denial (spec/policy.md, section 9).
fn upstream_text(deny: &Deny) -> String {
    let rule = deny.rule.as_ref().map(ToString::to_string).unwrap_or_default();
    match &deny.reason {
        DenyReason::ByRule => format!("denied by policy {rule}"),
        DenyReason::NoMatchingRule => "no matching rule found".to_owned(),
        DenyReason::NotATarget(target) => format!(
            "<unknown>:0: {}",
            match target.as_str() {
                "@dispvm:" => "invalid empty @dispvm: token: '@dispvm:'".to_owned(),
                _ => format!("invalid intendedtarget token: '{target}'"),
            }
        ),
        DenyReason::NotATemplate(name) => format!("not a template for dispvm: {name}"),
        DenyReason::NoTarget => {
            format!("policy define 'allow' action at {rule} but no target is specified by caller or policy")
        }
        DenyReason::NoDefaultDispvm => {
            format!("policy define 'allow' action to @dispvm at {rule} but no DispVM base is set for this VM")
        }
        DenyReason::RequiresAutostart(target) => {
            format!("target {target} is denied because it would require autostart")
        }
        DenyReason::Loopback => "loopback qrexec connection not supported".to_owned(),
        DenyReason::RelayNotSet(name) => format!("{name}: relayvm is not set"),
        DenyReason::TransportNotSet(name) => format!("{name}: transport RPC is not set"),
        DenyReason::NothingToChoose => {
            format!("policy define 'ask' action at {rule} but no target is available to choose from")
        }
        DenyReason::UnknownRequestedSource(name) => format!("unknown requested source qube '{name}'"),
        DenyReason::RequestedSourceNotRemote(name) => {
            format!("{name}: requested source is only authorized for RemoteVM")
        }
        DenyReason::NotItsRelay { relay, remote } => format!("{relay} is not a relay for {remote}"),
        other => format!("{other:?}"),
    }
}

/// What the message of the reference implementation for a load error starts with.
fn upstream_load_text(error: &LoadError) -> String {
    upstream_load_words(error).replace('\u{feff}', "\\ufeff")
}

fn upstream_load_words(error: &LoadError) -> String {
    let place = format!("{}:{}: ", error.file.display(), error.line.unwrap_or_default());
    match &error.kind {
        LoadErrorKind::TooFewWords { .. } => format!("{place}wrong number of fields"),
        LoadErrorKind::BadService(word) => format!("{place}service '{word}' contains invalid characters"),
        LoadErrorKind::BadArgument(word) => format!("{place}argument '{word}' contains invalid characters"),
        LoadErrorKind::ArgumentWithoutPlus(word) => format!("{place}argument '{word}' does not start with +"),
        LoadErrorKind::ArgumentWithoutService(_) => format!("{place}only * argument allowed for * service"),
        LoadErrorKind::BadToken { column, word } => format!("{place}invalid {column} token: '{word}'"),
        LoadErrorKind::EmptyToken { column, word } if word.is_empty() => {
            format!("{place}invalid empty {column} token")
        }
        LoadErrorKind::EmptyToken { word, .. } => format!("{place}invalid empty {word} token: '{word}'"),
        LoadErrorKind::BadAction(word) => format!("{place}invalid action: {word}"),
        LoadErrorKind::NotAParameter(word) => format!("{place}invalid action parameter syntax: '{word}'"),
        LoadErrorKind::ParameterTwice(key) => format!("{place}parameter given twice: '{key}'"),
        LoadErrorKind::NotYesNo { key, value } => {
            format!("{place}'{key}' is '{value}', but can be only 'yes' or 'no'")
        }
        LoadErrorKind::UnknownParameter { .. } => format!("{place}invalid parameters for action"),
        LoadErrorKind::DefaultWithoutTarget => {
            format!("{place}allow action for @default rule must specify target= option")
        }
        LoadErrorKind::UnknownDirective(_) => format!("{place}invalid directive"),
        LoadErrorKind::DirectiveWords { .. } => format!("{place}invalid number of params"),
        LoadErrorKind::NotAFile(path) => format!("{place}not a file: {}", path.display()),
        LoadErrorKind::NotADirectory(path) => format!("{place}not a directory: {}", path.display()),
        LoadErrorKind::BadFileName => format!("invalid filename: {}", error.file.display()),
        other => format!("{other:?}"),
    }
}

fn write_files(directory: &Path, files: &Value) {
    std::fs::create_dir(directory).unwrap();
    for (name, content) in files.as_object().unwrap() {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text(content)).unwrap();
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn lines(value: &Value) -> String {
    value.as_array().unwrap().iter().map(text).collect::<Vec<_>>().join("\n")
}
