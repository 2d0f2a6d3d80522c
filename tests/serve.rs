//! `serve`, `exec` and `ls`, and many calls at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Serve, code, text};
use fixture::{eventually, random_bytes};
use std::collections::HashSet;
use std::io::Write;
use std::process::Stdio;

#[test]
fn exec_passes_streams_and_exit_code() {
    let serve = Serve::start(&["--preload=0"]);
    let mut child = serve
        .exec("work", ["sh", "-c", "cat; echo words >&2; exit 42"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let content = random_bytes(5, 2 << 20);
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let content = content.clone();
        move || input.write_all(&content).unwrap()
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert_eq!(code(&output), 42);
    assert!(output.stdout == content);
    assert_eq!(text(&output.stderr), "words\n");
    // Words arrive as they were given: no shell takes them apart.
    let output = serve.run("work", ["printf", "%s|", "a b", "$HOME", "ü\n", ""]);
    assert_eq!(text(&output.stdout), "a b|$HOME|ü\n||");
}

#[test]
fn ls_shows_the_qubes() {
    let serve = Serve::start(&["--preload=2"]);
    let output =
        std::process::Command::new(common::HOST).args(["ls", "--state"]).arg(&serve.state).output().unwrap();
    let table = text(&output.stdout);
    assert_eq!(code(&output), 0);
    assert!(table.lines().any(|line| line.starts_with("work ") && line.contains("Running")), "{table}");
    let waiting = table.lines().filter(|line| line.starts_with("disp") && line.contains("Paused")).count();
    assert_eq!(waiting, 2, "{table}");
}

#[test]
fn exec_without_a_host_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(common::HOST)
        .args(["exec", "--state"])
        .arg(directory.path())
        .args(["work", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 125);
    assert!(text(&output.stderr).contains("qubes-host serve"), "{}", text(&output.stderr));
}

#[test]
fn p1_five_at_once_on_a_queue_of_two_get_five_different_disposables() {
    let application = "sh -c 'hostname >> \"$1\"; sleep 1' sh";
    let serve = Serve::start(&["--preload=2", "--with", application]);
    for number in 0..5 {
        serve.put("work", &format!("f{number}"), b"");
    }
    let calls: Vec<_> = (0..5)
        .map(|number| serve.exec("work", ["qvm-open-in-dvm", &format!("f{number}")]).spawn().unwrap())
        .collect();
    for call in calls {
        let output = call.wait_with_output().unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let names: HashSet<String> =
        (0..5).map(|number| text(&serve.get("work", &format!("f{number}")))).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("disp")), "{names:?}");
}

#[test]
fn nothing_of_a_disposable_survives_it() {
    let application = "sh -c 'touch ~/left /tmp/left; ls -a ~ /tmp > \"$1\"' sh";
    let serve = Serve::start(&["--preload=1", "--with", application]);
    for _ in 0..3 {
        serve.put("work", "list", b"");
        let output = serve.run("work", ["qvm-open-in-dvm", "list"]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let list = text(&serve.get("work", "list"));
    assert_eq!(list.matches("left").count(), 2, "{list}");
    eventually("the used disposables are gone", || {
        let names = std::fs::read_dir(serve.state.join("qubes")).unwrap().flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with("disp")).count() == 1
    });
}

#[test]
fn p8_a_qube_without_default_dispvm_is_refused_and_learns_only_that() {
    let mut serve = Serve::start(&["--preload=1"]);
    // exec starts a qube that is not running.
    serve.put("vault", "a", b"x");
    let output = serve.run("vault", ["qvm-open-in-dvm", "a"]);
    assert_eq!(code(&output), 126, "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(said.contains("refused") && !said.contains("default_dispvm"), "{said}");
    assert!(serve.stop());
}

#[test]
fn two_hosts_at_once() {
    if common::left_out_on_xen("the machine's names of domains are for one host: both would have a work") {
        return;
    }
    let (first, second) = (
        Serve::start(&["--preload=1", "--with", "sed -i s/a/1/"]),
        Serve::start(&["--preload=1", "--with", "sed -i s/a/2/"]),
    );
    for (serve, expected) in [(&first, "1"), (&second, "2")] {
        serve.put("work", "f", b"a");
        let output = serve.run("work", ["qvm-open-in-dvm", "f"]);
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        assert_eq!(text(&serve.get("work", "f")), expected);
    }
}

#[test]
fn one_state_directory_has_one_host() {
    let serve = Serve::start(&["--preload=0"]);
    let output = std::process::Command::new(common::HOST)
        .args(["serve", "--state"])
        .arg(&serve.state)
        .output()
        .unwrap();
    assert_eq!(code(&output), 125);
    assert!(text(&output.stderr).contains(&serve.child.id().to_string()), "{}", text(&output.stderr));
}

#[test]
fn p10_the_service_executable_keeps_no_inherited_descriptor() {
    let serve = Serve::start(&["--preload=1", "--with", "cat"]);
    let link = serve.state.join("qubes.OpenInVM");
    std::os::unix::fs::symlink(common::HOST, &link).unwrap();
    let said = std::fs::File::create(serve.state.join("log/service.log")).unwrap();
    let leaked = serve.state.join("leaked");
    std::fs::write(&leaked, "").unwrap();
    let leaked = leaked.canonicalize().unwrap();
    // A descriptor that dom0's daemon might leak, and a PATH that must not matter.
    let mut service = std::process::Command::new("/bin/sh")
        .args(["-c", "exec 9<leaked; exec ./qubes.OpenInVM"])
        .current_dir(&serve.state)
        .env("PATH", "/nonexistent")
        .env("QUBES_DISPVM_CONFIG", serve.state.join("etc/qubes/dispvm.toml"))
        .env("QREXEC_REMOTE_DOMAIN", "work")
        .env("QREXEC_REQUESTED_TARGET_TYPE", "keyword")
        .env("QREXEC_REQUESTED_TARGET_KEYWORD", "dispvm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .unwrap();
    let used = serve.state.join("run/dispvm/default-dvm/used");
    eventually("the call is under way", || {
        assert!(service.try_wait().unwrap().is_none(), "it has ended");
        std::fs::read_dir(&used).is_ok_and(|mut files| files.next().is_some())
    });
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", service.id()))
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .collect();
    assert!(!open.contains(&leaked), "{open:?}");
    drop(service.stdin.take());
    assert_eq!(
        service.wait().unwrap().code(),
        Some(1),
        "a request without a name field is refused by the opener"
    );
}

#[test]
fn p13_a_qube_with_too_many_calls_is_refused_and_others_are_not() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = directory.path().join("state");
    std::fs::create_dir_all(state.join("etc/qubes")).unwrap();
    std::fs::write(state.join("etc/qubes/dispvm.toml"), "calls-per-source = 1\n").unwrap();
    let serve = Serve::start_in(&state, &["--preload=2", "--with", "sh -c 'sleep 1000'"]);
    serve.put("work", "f", b"x");
    let mut first = serve.exec("work", ["qvm-open-in-dvm", "f"]).spawn().unwrap();
    let used = state.join("run/dispvm/default-dvm/used");
    eventually("the first call is under way", || std::fs::read_dir(&used).unwrap().next().is_some());
    let second = serve.run("work", ["qvm-open-in-dvm", "f"]);
    assert_eq!(code(&second), 126, "{}", text(&second.stderr));
    assert!(matches!(first.try_wait(), Ok(None)), "the first goes on");
    common::kill(first.id(), "TERM");
    first.wait().unwrap();
}

#[test]
fn s12_a_disposable_bears_the_tags_of_its_creator_before_it_is_called() {
    let mut serve = Serve::start(&["--preload=1", "--with", "sh -c 'sleep 1000'"]);
    serve.put("work", "f", b"x");
    let mut call = serve.exec("work", ["qvm-open-in-dvm", "f"]).spawn().unwrap();
    let used = serve.state.join("run/dispvm/default-dvm/used");
    let mut name = String::new();
    eventually("the call is under way", || {
        let entry = std::fs::read_dir(&used).unwrap().flatten().next();
        name = entry.map(|entry| entry.file_name().to_string_lossy().into_owned()).unwrap_or_default();
        !name.is_empty()
    });
    let admin = admin::Client::new(serve.state.join("run/qubesd.sock"));
    let tags = admin.tag_list(&names::QubeRef::Name(name.parse().unwrap())).unwrap();
    for tag in ["created-by-work", "disp-created-by-work"] {
        assert!(tags.iter().any(|have| have.as_str() == tag), "{tags:?}");
    }
    common::kill(call.id(), "TERM");
    call.wait().unwrap();
    assert!(serve.stop());
}

/// Every disposable opens the next one and adds 1 to the exit code that it gets. The guard in the qube is left out, as a
/// hostile one would.
#[test]
fn s4_a_chain_of_disposables_is_cut_by_dom0_and_counts_for_the_qube_that_began() {
    let next = "sh -c 'env -u QREXEC_SERVICE_FULL_NAME qvm-open-in-dvm \"$0\" || exit $(($? + 1))'";
    for limit in ["chain-depth = 2\n", "calls-per-source = 2\nchain-depth = 0\n"] {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let state = directory.path().join("state");
        std::fs::create_dir_all(state.join("etc/qubes")).unwrap();
        std::fs::write(state.join("etc/qubes/dispvm.toml"), limit).unwrap();
        let mut serve = Serve::start_in(&state, &["--preload=1", "--with", next]);
        serve.put("work", "f", b"x");
        let call = serve.run("work", ["qvm-open-in-dvm", "f"]);
        assert_eq!(code(&call), 126 + 2, "{limit}: {}", text(&call.stderr));
        assert!(serve.stop());
    }
}

#[test]
fn s4_the_guard_in_the_qube_comes_first() {
    let mut serve = Serve::start(&["--preload=1", "--with", "qvm-open-in-dvm"]);
    serve.put("work", "f", b"x");
    let call = serve.run("work", ["qvm-open-in-dvm", "f"]);
    // Nobody can be asked in a qube without a desktop.
    assert_eq!(code(&call), 1, "{}", text(&call.stderr));
    assert!(serve.stop());
}

/// A disposable calls back the qube that opened it, and says a lot meanwhile: both calls end well.
#[test]
fn m48_a_call_back_to_the_qube_that_opened_the_disposable() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let state = directory.path().join("state");
    std::fs::create_dir_all(state.join("etc/policy.d")).unwrap();
    let rule = "qubes.OpenInVM * @anyvm work allow\n";
    std::fs::write(state.join("etc/policy.d/30-user.policy"), rule).unwrap();
    let with = "sh -c 'echo noise; case \"$QREXEC_REMOTE_DOMAIN\" in work) qvm-open-in-vm work \"$0\";; \
                *) printf back > \"$0\";; esac'";
    let mut serve = Serve::start_in(&state, &["--preload=1", "--with", with]);
    serve.put("work", "f", b"x");
    let call = serve.run("work", ["qvm-open-in-dvm", "f"]);
    assert_eq!(code(&call), 0, "{}", text(&call.stderr));
    assert_eq!(serve.get("work", "f"), b"back");
    assert!(serve.stop());
}
