//! A policy follows its files, and broken files deny everything.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use policy::{Call, Decision, DenyReason, Options, Policy, PolicyCache, SystemInfo};
use std::path::Path;
use std::sync::Arc;

const SYSTEM: &str = r#"{"domains": {
    "work": {"type": "AppVM", "tags": [], "template_for_dispvms": false, "uuid": "00000000-0000-4000-8000-000000000001"},
    "vault": {"type": "AppVM", "tags": [], "template_for_dispvms": false, "uuid": "00000000-0000-4000-8000-000000000002"}
}}"#;

fn decide(cache: &mut PolicyCache) -> Decision {
    let system = SystemInfo::from_json(SYSTEM.as_bytes()).unwrap();
    cache.evaluate(&Call::new("work", "a", "vault"), &system, Options::default())
}

fn is_allowed(cache: &mut PolicyCache) -> bool {
    decide(cache).is_allowed()
}

#[test]
fn changes_are_seen() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name);
    // Each change must show by the stamps alone.
    let is_allowed = |cache: &mut PolicyCache| {
        let allowed = is_allowed(cache);
        settle(cache);
        allowed
    };
    let write = |name: &str, text: &str| std::fs::write(file(name), text).unwrap();
    let mut cache = PolicyCache::new(vec![root.path().to_owned()]);
    assert!(!is_allowed(&mut cache));
    write("50-a.policy", "a * work vault allow");
    assert!(is_allowed(&mut cache), "a new file");
    write("40-a.policy", "a * work vault deny ");
    assert!(!is_allowed(&mut cache), "a new file before it");
    std::fs::rename(file("40-a.policy"), file("60-a.policy")).unwrap();
    assert!(is_allowed(&mut cache), "renamed behind it");
    write("50-a.policy", "a * vault work deny ");
    assert!(!is_allowed(&mut cache), "rewritten in the same length");
    write("50-a.policy", "!include inc");
    write("inc", "a * work vault allow");
    assert!(is_allowed(&mut cache), "an included file");
    write("inc", "a * work vault deny ");
    assert!(!is_allowed(&mut cache), "an included file rewritten");
    std::fs::remove_file(file("50-a.policy")).unwrap();
    write("60-a.policy", "a * work vault allow");
    assert!(is_allowed(&mut cache), "a file removed");
}

#[test]
fn a_hundred_rewrites_of_one_length_are_all_seen() {
    let root = tempfile::tempdir().unwrap();
    let mut cache = PolicyCache::new(vec![root.path().to_owned()]);
    for round in 0..100 {
        let action = if round % 2 == 0 { "allow" } else { "deny " };
        std::fs::write(root.path().join("1.policy"), format!("a * work vault {action}")).unwrap();
        assert_eq!(is_allowed(&mut cache), round % 2 == 0, "round {round}");
    }
}

#[test]
fn broken_files_deny_everything_and_say_where() {
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("10-good.policy");
    let bad = root.path().join("20-bad.policy");
    std::fs::write(&good, "a * work vault allow").unwrap();
    let mut cache = PolicyCache::new(vec![root.path().to_owned()]);
    assert!(is_allowed(&mut cache));
    std::fs::write(&bad, "\nb * work vault perhaps").unwrap();
    for _ in 0..2 {
        let Decision::Deny(deny) = decide(&mut cache) else { panic!() };
        let DenyReason::PolicyBroken(error) = &deny.reason else { panic!("{deny}") };
        assert_eq!((&*error.file, error.line, error.column), (bad.as_path(), Some(2), Some(16)));
        assert!(!deny.notify && deny.to_string().contains("\"perhaps\""), "{deny}");
    }
    std::fs::write(&bad, "").unwrap();
    assert!(is_allowed(&mut cache), "mended");
    std::fs::write(root.path().join("30-BAD.policy"), "").unwrap();
    let Decision::Deny(deny) = decide(&mut cache) else { panic!() };
    assert!(deny.notify, "trouble with a file's name is shown to the user: {deny}");
}

#[test]
fn unchanged_files_are_not_read_again() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("1.policy");
    std::fs::write(&file, "a * work vault allow").unwrap();
    let mut cache = PolicyCache::new(vec![root.path().to_owned()]);
    let last = settle(&mut cache);
    assert!(Arc::ptr_eq(&last, &cache.policy().unwrap()));
}

#[test]
fn old_rules_are_looked_for_where_told() {
    let root = tempfile::tempdir().unwrap();
    let (policy, legacy) = (root.path().join("policy.d"), root.path().join("old"));
    std::fs::create_dir(&policy).unwrap();
    std::fs::write(policy.join("35-compat.policy"), "!compat-4.0\na * work vault allow").unwrap();
    let mut cache = PolicyCache::new(vec![policy]).with_legacy_directory(legacy.clone());
    assert!(is_allowed(&mut cache), "no such directory");
    std::fs::create_dir(&legacy).unwrap();
    assert!(is_allowed(&mut cache), "an empty one");
    settle(&mut cache);
    write(&legacy.join("a"), "work vault deny");
    assert!(!is_allowed(&mut cache), "one with rules");
    std::fs::remove_file(legacy.join("a")).unwrap();
    std::fs::remove_dir(&legacy).unwrap();
    settle(&mut cache);
    let full = root.path().join("full");
    std::fs::create_dir(&full).unwrap();
    write(&full.join("a"), "work vault deny");
    std::fs::rename(&full, &legacy).unwrap();
    assert!(!is_allowed(&mut cache), "one that appears with rules");
}

/// Waits until the cache trusts what it has: files that changed a moment ago are read again on purpose.
fn settle(cache: &mut PolicyCache) -> Arc<Policy> {
    let mut last = cache.policy().unwrap();
    for _ in 0..1000 {
        std::thread::sleep(std::time::Duration::from_millis(5));
        let next = cache.policy().unwrap();
        if Arc::ptr_eq(&last, &next) {
            return last;
        }
        last = next;
    }
    panic!("the policy is read again and again");
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[test]
fn what_takes_the_place_of_a_file_that_was_read_counts() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for (directory, rule) in
        [("policy.d", "* * @anyvm @anyvm deny"), ("v1", ""), ("v2", "* * @anyvm @anyvm deny")]
    {
        std::fs::create_dir(path(directory)).unwrap();
        std::fs::write(path(directory).join("50-a.policy"), rule).unwrap();
    }
    std::os::unix::fs::symlink("v1", path("current")).unwrap();
    std::os::unix::fs::symlink("../current/50-a.policy", path("policy.d/30-link.policy")).unwrap();
    let mut cache = PolicyCache::new(vec![path("policy.d")]);
    assert!(!is_allowed(&mut cache));
    settle(&mut cache);

    std::fs::write(path("new"), "* * @anyvm @anyvm allow").unwrap();
    std::fs::rename(path("new"), path("policy.d/50-a.policy")).unwrap();
    assert!(is_allowed(&mut cache), "another file under the same name");
    settle(&mut cache);

    std::os::unix::fs::symlink("v2", path("next")).unwrap();
    std::fs::rename(path("next"), path("current")).unwrap();
    assert!(!is_allowed(&mut cache), "the link leads to another file");
    settle(&mut cache);
    std::fs::write(path("v2/50-a.policy"), "").unwrap();
    assert!(is_allowed(&mut cache), "written in place where a link leads");
}
