//! `qubes-host open` as a user runs it: the whole chain, nothing short-cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod common;

use common::{HOST, code, on_xen, open, text};
use fixture::random_bytes;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// A directory that the tests' user can write to, on disk.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").unwrap()
}

#[test]
fn the_readme_command_gives_back_the_edited_file() {
    let directory = directory();
    let file = directory.path().join("report.txt");
    fs::write(&file, "a draft\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let output = open(["--with".as_ref(), "sed -i s/draft/final/".as_ref(), file.as_os_str()]);
    let story = text(&output.stderr);
    assert_eq!(code(&output), 0, "{story}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "a final\n");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
    for step in
        ["work started", "preloaded", "allowed", "claimed", "woken", "connected", "destroyed", "refilled"]
    {
        assert!(story.contains(step), "no \"{step}\" in\n{story}");
    }
}

#[test]
fn a_file_in_a_directory_of_any_name_is_opened() {
    let directory = directory();
    let place = directory.path().join(OsStr::from_bytes(b"d\xe9p\xf4t"));
    fs::create_dir(&place).unwrap();
    let file = place.join("a");
    fs::write(&file, "a draft").unwrap();
    let output =
        open(["--preload=0".as_ref(), "--with".as_ref(), "sed -i s/draft/final/".as_ref(), file.as_os_str()]);
    let story = text(&output.stderr);
    assert_eq!((code(&output), fs::read_to_string(&file).unwrap().as_str()), (0, "a final"), "{story}");
    assert!(!story.contains("WARNING"), "{story}");
    let refused =
        open(["--state".as_ref(), place.as_os_str(), "--with".as_ref(), "cat".as_ref(), file.as_os_str()]);
    assert!(text(&refused.stderr).contains("no UTF-8; name another"), "{}", text(&refused.stderr));
}

#[test]
fn where_namespaces_are_refused_one_warning_says_so() {
    if on_xen() || !Path::new("/usr/bin/unshare").exists() {
        return;
    }
    let directory = directory();
    let file = directory.path().join("a");
    fs::write(&file, "a draft").unwrap();
    // The limit holds for the namespace it is set in, so that the machine is not changed.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let output = Command::new("/usr/bin/unshare")
        .args(["--user", "--map-root-user", "--", "/bin/sh", "-c", script])
        .args([HOST, "open", "--preload=1", "--with", "sed -i s/draft/final/"])
        .arg(&file)
        .output()
        .unwrap();
    let story = text(&output.stderr);
    if !story.contains("what happened") {
        return println!("SKIPPED: this machine refuses them already: {story}");
    }
    assert_eq!((code(&output), fs::read_to_string(&file).unwrap().as_str()), (0, "a final"), "{story}");
    assert_eq!(story.matches("NOTHING ISOLATES THE QUBES").count(), 1, "{story}");
    assert!(story.find("NOTHING ISOLATES") < story.find("work started"), "{story}");
}

#[test]
fn p12_an_unchanged_file_is_not_touched() {
    let directory = directory();
    for (index, content) in [Vec::new(), vec![b'x'], random_bytes(7, 3 << 20)].into_iter().enumerate() {
        let file = directory.path().join(format!("f{index}"));
        fs::write(&file, &content).unwrap();
        let before = fs::metadata(&file).unwrap();
        let output = open(["--preload=1".as_ref(), "--with".as_ref(), "cat".as_ref(), file.as_os_str()]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        let after = fs::metadata(&file).unwrap();
        assert_eq!(
            (before.ino(), before.mtime(), before.mtime_nsec()),
            (after.ino(), after.mtime(), after.mtime_nsec())
        );
        assert_eq!(fs::read(&file).unwrap(), content);
    }
}

#[test]
fn bytes_come_back_as_the_application_left_them() {
    let directory = directory();
    let tool = "sh -c 'printf end >> \"$1\"' sh";
    for (index, length) in [0usize, 1, 65_536, 5 << 20].into_iter().enumerate() {
        let mut content = random_bytes(11, length);
        let file = directory.path().join(format!("f{index}"));
        fs::write(&file, &content).unwrap();
        let output = open(["--preload=1".as_ref(), "--with".as_ref(), tool.as_ref(), file.as_os_str()]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        content.extend_from_slice(b"end");
        assert!(fs::read(&file).unwrap() == content, "{length} bytes");
    }
}

#[test]
fn p12_a_link_stays_a_link_and_its_file_is_edited() {
    let directory = directory();
    let file = directory.path().join("real.txt");
    fs::write(&file, "draft").unwrap();
    let link = directory.path().join("link.txt");
    symlink(&file, &link).unwrap();
    let output =
        open(["--preload=1".as_ref(), "--with".as_ref(), "sed -i s/draft/final/".as_ref(), link.as_os_str()]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), "final");
}

#[test]
fn view_only_brings_nothing_back() {
    let directory = directory();
    let file = directory.path().join("a.txt");
    fs::write(&file, "draft").unwrap();
    let output = open([
        "--view-only".as_ref(),
        "--preload=1".as_ref(),
        "--with".as_ref(),
        "sed -i s/draft/final/".as_ref(),
        file.as_os_str(),
    ]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "draft");
}

#[test]
fn p9_what_cannot_be_opened_is_said_before_anything_starts() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name).into_os_string();
    for (words, exit, part) in [
        (vec![directory.path().as_os_str().to_owned()], 1, "directory"),
        (vec![path("nosuch")], 1, "no such file"),
        (vec!["--nosuch".into(), path("x")], 2, "--nosuch"),
        (vec!["gopher://x/".into()], 1, "only http, https and ftp"),
        (vec!["".into()], 2, "empty"),
        (vec![], 2, "which file"),
    ] {
        let output = open(&words);
        let said = text(&output.stderr);
        assert_eq!(code(&output), exit, "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn p9_refusals_say_why_and_what_to_set() {
    let directory = directory();
    let file = directory.path().join("a.txt");
    fs::write(&file, "draft").unwrap();
    for (target, part) in [("@dispvm:nosuch", "nosuch"), ("@dispvm:work", "template_for_dispvms")] {
        let output = open(["--dispvm".as_ref(), target.as_ref(), file.as_os_str()]);
        let story = text(&output.stderr);
        assert_eq!(code(&output), 126, "{story}");
        assert!(story.contains(part), "{target}: {story}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "draft");
}

#[test]
fn p9_the_application_failing_or_missing_is_shown_with_its_exit_code() {
    let directory = directory();
    let file = directory.path().join("a.txt");
    fs::write(&file, "draft").unwrap();
    let output = open(["--with".as_ref(), "sh -c 'echo last words >&2; exit 7'".as_ref(), file.as_os_str()]);
    assert_eq!(code(&output), 7, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("last words"));
    let output = open(["--with".as_ref(), "no-such-editor".as_ref(), file.as_os_str()]);
    assert_ne!(code(&output), 0);
    assert!(text(&output.stderr).contains("no-such-editor"), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "draft");
}

#[test]
fn p7_control_bytes_of_a_disposable_reach_no_terminal() {
    let directory = directory();
    let file = directory.path().join("a.txt");
    fs::write(&file, "draft").unwrap();
    let output =
        open(["--with".as_ref(), "sh -c 'printf \"\\033[31mred\\n\" >&2'".as_ref(), file.as_os_str()]);
    assert!(text(&output.stderr).contains("_[31mred"), "{}", text(&output.stderr));
    assert!(!output.stderr.contains(&0x1b));
}

#[test]
fn p7_a_flood_of_words_is_cut_and_the_application_goes_on() {
    let directory = directory();
    let file = directory.path().join("a.txt");
    fs::write(&file, "draft").unwrap();
    let application = "sh -c 'yes flood | head -c 3000000 >&2; printf end > \"$1\"' sh";
    let output = open(["--preload=1".as_ref(), "--with".as_ref(), application.as_ref(), file.as_os_str()]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("is not shown"));
    assert!(output.stderr.len() < 500_000, "{} bytes", output.stderr.len());
    assert_eq!(fs::read_to_string(&file).unwrap(), "end");
}

#[test]
fn json_is_one_object_a_line_and_nothing_else() {
    let directory = directory();
    let file = directory.path().join("a.txt");
    fs::write(&file, "draft").unwrap();
    let output = open(["--json".as_ref(), "--with".as_ref(), "cat".as_ref(), file.as_os_str()]);
    assert_eq!(code(&output), 0);
    let lines = text(&output.stdout);
    let steps: Vec<String> = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_str().unwrap().to_owned()
        })
        .collect();
    for step in
        ["host-started", "preloaded", "allowed", "claimed", "woken", "connected", "ended", "destroyed"]
    {
        assert!(steps.iter().any(|have| have == step), "no {step} in {steps:?}");
    }
}

#[test]
fn a_cold_start_works_as_well() {
    let directory = directory();
    let file = directory.path().join("a.txt");
    fs::write(&file, "draft").unwrap();
    let words =
        ["--preload=0".as_ref(), "--with".as_ref(), "sed -i s/draft/final/".as_ref(), file.as_os_str()];
    let output = open(words);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "final");
}

#[test]
fn names_of_all_kinds_keep_their_name() {
    let directory = directory();
    let long = "l".repeat(251) + ".txt";
    for name in ["a b.txt", "größe.txt", "-dash.txt", "new\nline.txt", "view-only-x", "a+b@c.txt", &long] {
        let file = directory.path().join(name);
        fs::write(&file, "draft").unwrap();
        let words =
            ["--preload=1".as_ref(), "--with".as_ref(), "sed -i s/draft/final/".as_ref(), file.as_os_str()];
        let output = open(words);
        assert_eq!(code(&output), 0, "{name:?}: {}", text(&output.stderr));
        assert_eq!(fs::read_to_string(&file).unwrap(), "final", "{name:?}");
    }
    let names = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 7, "nothing is left beside the files");
}

#[test]
fn a_state_directory_path_of_200_characters() {
    let directory = directory();
    let file = directory.path().join("a.txt");
    fs::write(&file, "draft").unwrap();
    let mut state = directory.path().to_string_lossy().into_owned();
    while state.len() < 190 {
        state += "/deep-directory";
    }
    state += &"/x".repeat((200 - state.len()) / 2);
    let words: [&OsStr; 6] = [
        "--state".as_ref(),
        state.as_ref(),
        "--preload=1".as_ref(),
        "--with".as_ref(),
        "sed -i s/draft/final/".as_ref(),
        file.as_os_str(),
    ];
    let output = open(words);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "final");
    assert!(Path::new(&state).is_dir());
}

#[test]
fn disk_full_in_the_state_directory_loses_nothing() {
    let directory = directory();
    let small = directory.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&small).status();
    if !mount.is_ok_and(|status| status.success()) {
        eprintln!("skipped: only root can mount a small file system");
        return;
    }
    let file = directory.path().join("big");
    let content = random_bytes(3, 16 << 20);
    fs::write(&file, &content).unwrap();
    let state = small.join("state");
    let words: [&OsStr; 6] = [
        "--state".as_ref(),
        state.as_os_str(),
        "--preload=1".as_ref(),
        "--with".as_ref(),
        "cat".as_ref(),
        file.as_os_str(),
    ];
    let output = open(words);
    Command::new("umount").arg("-l").arg(&small).status().unwrap();
    assert_ne!(code(&output), 0);
    assert!(text(&output.stderr).contains("full"), "{}", text(&output.stderr));
    assert!(fs::read(&file).unwrap() == content);
}
