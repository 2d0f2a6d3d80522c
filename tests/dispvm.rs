//! `qvm-dispvm` beside a running host: status, watch, refresh, drain, doctor and run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{HOST, Serve, code, text};
use disposable::queue::{KeeperLock, SoleKeeper};
use fixture::{eventually, random_bytes};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const TEMPLATE: &str = "default-dvm";

fn tool(state: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(HOST);
    command.arg0("qvm-dispvm").arg(words[0]).arg("--state").arg(state).args(&words[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ask(serve: &Serve, words: &[&str]) -> Output {
    tool(&serve.state, words).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(!output.stdout.is_empty(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The names that wait, oldest first.
fn waiting(serve: &Serve) -> Vec<String> {
    let status = json(&ask(serve, &["status", "--json", TEMPLATE]));
    let ready = status["templates"][0]["ready"].as_array().unwrap().clone();
    ready.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn trusted(serve: &Serve) {
    eventually("a keeper lives", || KeeperLock::is_held(&serve.state.join("run/dispvm")));
}

fn admin(serve: &Serve) -> admin::Client {
    admin::Client::new(serve.state.join("run/qubesd.sock"))
}

fn template() -> names::QubeRef {
    TEMPLATE.parse().unwrap()
}

#[test]
fn status_shows_what_ls_shows() {
    let serve = Serve::start(&["--preload=2"]);
    let ls = Command::new(HOST).args(["ls", "--state"]).arg(&serve.state).output().unwrap();
    let paused: HashSet<String> = text(&ls.stdout)
        .lines()
        .filter(|line| line.starts_with("disp") && line.contains("Paused"))
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(waiting(&serve).into_iter().collect::<HashSet<_>>(), paused);
    let status = json(&ask(&serve, &["status", "--json"]));
    let row = &status["templates"][0];
    assert_eq!((status["keeper"].as_bool(), row["max"].as_u64()), (Some(true), Some(2)), "{status}");
    assert!(row["trouble"].is_null() && row["memory_kib"].as_u64() > Some(0), "{status}");
    let table = text(&ask(&serve, &["status"]).stdout);
    assert!(paused.iter().all(|name| table.contains(name)) && table.contains("MiB"), "{table}");
    let output = ask(&serve, &["status", "nosuch"]);
    assert!(code(&output) == 125 && text(&output.stderr).contains("nosuch"), "{}", text(&output.stderr));
}

#[test]
fn refresh_replaces_what_waits() {
    let serve = Serve::start(&["--preload=2"]);
    trusted(&serve);
    let before = waiting(&serve);
    assert_eq!(before.len(), 2);
    let output = ask(&serve, &["refresh", TEMPLATE]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("2 waiting made stale"), "{}", text(&output.stdout));
    eventually("two others wait", || {
        let now = waiting(&serve);
        now.len() == 2 && now.iter().all(|name| !before.contains(name))
    });
}

#[test]
fn drain_empties_and_waits_until_it_is_done() {
    let serve = Serve::start(&["--preload=2"]);
    trusted(&serve);
    let before = waiting(&serve);
    let output = ask(&serve, &["drain", "--json"]);
    assert_eq!(code(&output), 0, "{} {}", text(&output.stdout), text(&output.stderr));
    let drained = json(&output)["templates"][0]["drained"].as_array().unwrap().clone();
    assert!(before.iter().all(|name| drained.iter().any(|gone| gone == name)), "{drained:?}");
    let left = admin(&serve).list().unwrap();
    assert!(!left.iter().any(|line| before.contains(&line.name.to_string())), "{left:?}");
    // Where none are to wait, none come back.
    admin(&serve).feature_set(&template(), "preload-dispvm-max", "0").unwrap();
    eventually("nothing waits or starts", || {
        let drained = code(&ask(&serve, &["drain"])) == 0;
        drained && !admin(&serve).list().unwrap().iter().any(|line| line.name.as_str().starts_with("disp"))
    });
}

#[test]
fn watch_shows_each_move_on_a_line_of_its_own() {
    let serve = Serve::start(&["--preload=1"]);
    let mut watch = tool(&serve.state, &["watch", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    let waits = |line: &Value| line["templates"][0]["ready"].as_array().unwrap().clone();
    assert_eq!(waits(&first).len(), 1);
    trusted(&serve);
    ask(&serve, &["drain"]);
    let is_replaced = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        waits(&line).len() == 1 && waits(&line) != waits(&first)
    };
    assert!(lines.any(|line| is_replaced(&line)));
    common::kill(watch.id(), "TERM");
    assert!(!watch.wait().unwrap().success());
}

#[test]
fn doctor_finds_what_is_broken_and_nothing_else() {
    let mut serve = Serve::start(&["--preload=1"]);
    trusted(&serve);
    let output = ask(&serve, &["doctor"]);
    assert_eq!((code(&output), text(&output.stdout)), (0, "all is well\n".into()));

    let expect = |serve: &Serve, parts: &[&str]| {
        let output = ask(serve, &["doctor"]);
        let said = text(&output.stdout);
        assert_eq!(code(&output), 1, "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} not all in\n{said}");
        said
    };
    // Somebody may write to the queue.
    let queue = serve.state.join("run/dispvm").join(TEMPLATE);
    let chmod = |mode: &str| assert!(Command::new("chmod").arg(mode).arg(&queue).status().unwrap().success());
    chmod("o+w");
    assert_eq!(expect(&serve, &["queue: ", "written by everybody", "chmod o-w"]).lines().count(), 1);
    chmod("o-w");
    // A template that could never pass its check.
    admin(&serve).feature_set(&template(), "supported-rpc.qubes.WaitForSession", "").unwrap();
    expect(&serve, &["template: default-dvm lacks supported-rpc.qubes.WaitForSession"]);
    admin(&serve).feature_set(&template(), "supported-rpc.qubes.WaitForSession", "1").unwrap();
    // Disposables in the template's list that are not ours.
    let list = || admin(&serve).feature_get(&template(), "preload-dispvm").unwrap().unwrap_or_default();
    let before = list();
    let stranger = admin(&serve).create_disposable(&template()).unwrap();
    let name = admin(&serve).name_of(&names::QubeRef::Uuid(stranger)).unwrap();
    let set = |list: &str| admin(&serve).feature_set(&template(), "preload-dispvm", list).unwrap();
    set("");
    set(name.as_str());
    let said = expect(&serve, &["preloading: qubesd preloads default-dvm by itself", "only one may"]);
    assert!(said.contains(name.as_str()), "{said}");
    set("");
    set(&before);
    admin(&serve).remove(&names::QubeRef::Uuid(stranger)).unwrap();
    // A configuration that nobody can read.
    let config = serve.state.join("etc/qubes/dispvm.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("nosuch-key = 1\n{good}")).unwrap();
    expect(&serve, &["configuration: ", "nosuch-key", "correct the file"]);
    std::fs::write(&config, good).unwrap();
    assert_eq!(code(&ask(&serve, &["doctor"])), 0);
    // No keeper, and no qubesd.
    assert!(serve.stop());
    expect(&serve, &["keeper: no keeper lives", "log/preload-dispvm.log", "socket: ", "qubesd.sock"]);
    let findings = json(&ask(&serve, &["doctor", "--json"]));
    assert_eq!(findings["well"], false);
}

#[test]
fn run_passes_streams_and_exit_code_and_each_gets_a_disposable_of_its_own() {
    let serve = Serve::start(&["--preload=1"]);
    trusted(&serve);
    let content = random_bytes(7, 300_000);
    let mut names = HashSet::new();
    // Preloaded or cold, by each way to name the template.
    for target in ["--dispvm=@dispvm", "--dispvm=default-dvm", "--dispvm=@dispvm:@tag:open-in-disposable"] {
        let mut run =
            tool(&serve.state, &["run", target, "--", "sh", "-c", "cat; hostname >&2; exit $1", "sh", "42"])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
        run.stdin.take().unwrap().write_all(&content).unwrap();
        let output = run.wait_with_output().unwrap();
        assert_eq!(code(&output), 42, "{}", text(&output.stderr));
        assert!(output.stdout == content);
        names.insert(text(&output.stderr).trim_end().to_owned());
    }
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("disp") && !name.contains('\n')), "{names:?}");
    eventually("all are destroyed", || {
        let left = admin(&serve).list().unwrap();
        !left.iter().any(|line| names.contains(line.name.as_str()))
    });
    let output = ask(&serve, &["run", "--user", "user", "--service", "qubes.WaitForRunningSystem"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let output = ask(&serve, &["run", "--service", "no.Such"]);
    assert_eq!(code(&output), 127, "{}", text(&output.stderr));
    let output = ask(&serve, &["run", "--dispvm=work", "--", "true"]);
    assert!(code(&output) == 126 && text(&output.stderr).contains("template_for_dispvms"), "{output:?}");
}

#[test]
fn run_with_none_waiting_starts_one_and_it_is_destroyed() {
    let serve = Serve::start(&["--preload=0"]);
    let output = ask(&serve, &["run", "--", "hostname"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let name = text(&output.stdout).trim_end().to_owned();
    assert!(name.starts_with("disp"), "{name}");
    eventually("it is gone", || !admin(&serve).list().unwrap().iter().any(|line| line.name.as_str() == name));
}

/// Ends the keeper and takes its place, doing nothing: no other can start.
fn without_keeper(serve: &Serve) -> SoleKeeper {
    let root = serve.state.join("run/dispvm");
    let mut place = None;
    eventually("the keeper is gone for good", || {
        for pid in common::processes_with(&serve.state.to_string_lossy()) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if text(line.split(|byte| *byte == 0).next().unwrap_or_default()).ends_with("preload-dispvm") {
                common::kill(pid, "KILL");
            }
        }
        place = SoleKeeper::take(&root).unwrap();
        place.is_some()
    });
    eventually("the queue is not trusted", || !KeeperLock::is_held(&root));
    place.unwrap()
}

#[test]
fn p11_without_a_keeper_each_command_says_so_and_run_starts_cold_and_destroys_it_itself() {
    let serve = Serve::start(&["--preload=1"]);
    trusted(&serve);
    let before = waiting(&serve);
    let place = without_keeper(&serve);
    let claimed = serve.state.join("run/dispvm").join(TEMPLATE).join("claimed/disp1");
    std::fs::write(&claimed, "claimer=1@1\n").unwrap();
    let doctor = ask(&serve, &["doctor"]);
    let said = text(&doctor.stdout);
    assert_eq!((code(&doctor), said.lines().count()), (1, 2), "{said}");
    assert!(said.contains("keeper: no keeper lives"), "{said}");
    assert!(said.contains("claim: default-dvm/claimed/disp1: the call that claimed it has died"), "{said}");
    std::fs::remove_file(claimed).unwrap();

    assert!(text(&ask(&serve, &["status"]).stdout).contains("no keeper lives"));
    let run = ask(&serve, &["run", "--", "hostname"]);
    assert_eq!(code(&run), 0, "{}", text(&run.stderr));
    let name = text(&run.stdout).trim_end().to_owned();
    assert!(name.starts_with("disp") && !before.contains(&name), "{name}");
    eventually("it is gone", || !admin(&serve).list().unwrap().iter().any(|line| line.name.as_str() == name));

    let drain = ask(&serve, &["drain"]);
    assert!(code(&drain) == 1 && text(&drain.stderr).contains("no keeper lives"), "{drain:?}");
    let refresh = ask(&serve, &["refresh"]);
    assert!(code(&refresh) == 0 && text(&refresh.stderr).contains("no keeper lives"), "{refresh:?}");
    // The next keeper destroys what was drained.
    drop(place);
    eventually("another one waits", || {
        let now = waiting(&serve);
        now.len() == 1 && now != before
    });
    // In the background: the next one does not wait for it.
    eventually("it is gone", || {
        !admin(&serve).list().unwrap().iter().any(|line| line.name.as_str() == before[0])
    });
}

#[test]
fn p7_run_lets_no_disposable_steer_the_terminal() {
    let serve = Serve::start(&["--preload=1"]);
    let state = serve.state.to_str().unwrap();
    let link = serve.state.join("qvm-dispvm");
    std::os::unix::fs::symlink(HOST, &link).unwrap();
    // script(1) gives it a terminal; a pipe gets the bytes as they are.
    let line = format!("{} run --state {state} -- printf 'a\\033[31mb'", link.display());
    if common::left_out_on_xen("dom0's busybox has no script(1) that passes on what was written") {
        return;
    }
    let output =
        Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
    assert!(text(&output.stdout).contains("a_[31mb"), "{output:?}");
    let output = ask(&serve, &["run", "--", "printf", "a\\033[31mb"]);
    assert_eq!(output.stdout, b"a\x1b[31mb");
}

#[test]
fn policy_answers_as_json_too() {
    let serve = Serve::start(&["--preload=0"]);
    let output = Command::new(HOST)
        .arg0("qvm-dispvm")
        .args(["policy", "eval", "--json", "--state"])
        .arg(&serve.state)
        .args(["work", "qubes.OpenInVM", "@dispvm"])
        .output()
        .unwrap();
    let answer = json(&output);
    assert_eq!((code(&output), answer["exit"].as_u64()), (0, Some(0)), "{answer}");
    assert!(answer["answer"].as_str().unwrap().contains("result=allow"), "{answer}");
}
