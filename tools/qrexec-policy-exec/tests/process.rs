//! The program as qrexec-daemon runs it: real sockets of qubesd and of a policy agent, an answer on a socket pair.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use policy::protocol::Reply;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const SYSTEM: &str = r#"{"domains":{
    "dom0":{"type":"AdminVM","tags":[],"template_for_dispvms":false,"icon":"adminvm-black","uuid":"00000000-0000-0000-0000-000000000000"},
    "work":{"type":"AppVM","tags":[],"template_for_dispvms":false,"default_dispvm":"dvm","guivm":"dom0","power_state":"Running","uuid":"00000000-0000-4000-8000-000000000001"},
    "vault":{"type":"AppVM","tags":[],"template_for_dispvms":false,"default_dispvm":null,"guivm":null,"power_state":"Halted","uuid":"00000000-0000-4000-8000-000000000002"},
    "dvm":{"type":"AppVM","tags":[],"template_for_dispvms":true,"default_dispvm":null,"icon":"appvm-red","uuid":"00000000-0000-4000-8000-000000000003"}
}}"#;

const RULES: &str = "test.Yes * work vault allow\n\
                     test.Told * work vault allow notify=yes\n\
                     test.Ask * @anyvm @anyvm ask\n\
                     test.No * work vault deny notify=no\n";

const LIMIT: Duration = Duration::from_secs(60);

/// A small dom0.
struct Dom0 {
    directory: tempfile::TempDir,
}

impl Dom0 {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let dom0 = Self { directory };
        std::fs::create_dir(dom0.path("policy.d")).unwrap();
        std::fs::create_dir(dom0.path("qubes-rpc")).unwrap();
        std::fs::write(dom0.path("policy.d/30-test.policy"), RULES).unwrap();
        let config = format!("qubesd-internal-socket = \"{}\"\n", dom0.path("qubesd").display());
        std::fs::write(dom0.path("dispvm.toml"), config).unwrap();
        dom0
    }

    fn with_qubesd(answer: &'static [u8]) -> Self {
        let dom0 = Self::new();
        let listener = os::socket::listen(&dom0.path("qubesd")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
                stream.write_all(answer).unwrap();
            }
        });
        dom0
    }

    fn standard() -> Self {
        let answer = [b"0\0", SYSTEM.as_bytes()].concat();
        Self::with_qubesd(answer.leak())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An agent that gives this answer, and what it is sent.
    fn agent(&self, service: &str, answer: &'static [u8]) -> Receiver<Vec<u8>> {
        let listener: UnixListener = os::socket::listen(&self.path("qubes-rpc").join(service)).unwrap();
        let (sender, received) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut question = Vec::new();
                stream.read_to_end(&mut question).unwrap();
                sender.send(question).unwrap();
                stream.write_all(answer).unwrap();
            }
        });
        received
    }

    /// As qrexec-daemon does it: standard input and output are one end of a socket pair.
    fn run(&self, words: &[&str]) -> (String, i32) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let mut child = Command::new(env!("CARGO_BIN_EXE_qrexec-policy-exec"))
            .arg0("qrexec-policy-exec")
            .args(["--path", self.path("policy.d").to_str().unwrap()])
            .args(words)
            .env("QUBES_DISPVM_CONFIG", self.path("dispvm.toml"))
            .env("QREXEC_SERVICE_PATH", self.path("qubes-rpc"))
            .stdin(theirs.try_clone().unwrap())
            .stdout(theirs)
            .spawn()
            .unwrap();
        let mut answer = String::new();
        ours.set_read_timeout(Some(LIMIT)).unwrap();
        ours.read_to_string(&mut answer).unwrap();
        (answer, child.wait().unwrap().code().unwrap())
    }
}

/// The JSON after the preamble.
fn json(question: &[u8], service: &str) -> Value {
    let preamble = format!("{service} dom0 name dom0\0");
    serde_json::from_slice(question.strip_prefix(preamble.as_bytes()).unwrap()).unwrap()
}

#[test]
fn answers_are_those_of_the_policy_daemon() {
    let dom0 = Dom0::standard();
    let (answer, exit) = dom0.run(&["--", "work", "vault", "test.Yes+a"]);
    assert_eq!(exit, 0);
    assert_eq!(
        answer,
        "user=DEFAULT\nresult=allow\ntarget=vault\ntarget_uuid=uuid:00000000-0000-4000-8000-000000000002\n\
         autostart=True\nrequested_target=vault\n"
    );
    assert!(matches!(Reply::parse(answer.as_bytes()), Ok(Reply::Allow(_))));
    for call in
        [["work", "vault", "test.No"], ["work", "vault", "test.Nothing"], ["work", "@anyvm", "test.Yes"]]
    {
        assert_eq!(dom0.run(&call), ("result=deny\n".into(), 1), "{call:?}");
    }
    std::fs::write(dom0.path("policy.d/40-broken.policy"), "x\n").unwrap();
    assert_eq!(
        dom0.run(&["work", "vault", "test.Yes"]),
        ("result=deny\n".into(), 1),
        "a broken file denies all"
    );
}

#[test]
fn switches() {
    let dom0 = Dom0::standard();
    assert_eq!(dom0.run(&["--just-evaluate", "work", "vault", "test.Yes"]), (String::new(), 0));
    assert_eq!(dom0.run(&["--just-evaluate", "work", "vault", "test.Ask"]), (String::new(), 1));
    assert_eq!(dom0.run(&["--just-evaluate", "--assume-yes-for-ask", "work", "vault", "test.Ask"]).1, 0);
    let (answer, exit) = dom0.run(&["--assume-yes-for-ask", "work", "vault", "test.Ask"]);
    assert!(exit == 0 && answer.contains("target=vault\n"), "{answer}");
    assert_eq!(dom0.run(&["work", "vault"]), (String::new(), 2));
}

#[test]
fn the_user_is_asked_by_the_agent_and_decides() {
    for (reply, target) in [
        (&b"allow:vault"[..], Some("vault")),
        (b"allow:@dispvm:dvm", Some("@dispvm:dvm")),
        (b"allow:nosuch", None),
        (b"allow:work", None),
        (b"deny", None),
        (b"", None),
        (b"yes", None),
    ] {
        let dom0 = Dom0::standard();
        let asked = dom0.agent("policy.Ask", reply);
        let told = dom0.agent("policy.Notify", b"");
        let (answer, exit) = dom0.run(&["work", "vault", "test.Ask+x"]);
        let question = json(&asked.recv_timeout(LIMIT).unwrap(), "policy.Ask");
        assert_eq!(question["targets"].as_array().unwrap().len(), 3, "@dispvm:dvm, dvm, vault");
        assert_eq!(question["icons"]["@dispvm:dvm"], "dispvm-red");
        assert_eq!((&question["source"], &question["argument"]), (&"work".into(), &"+x".into()));
        match target {
            Some(target) => {
                assert!(exit == 0 && answer.contains(&format!("\ntarget={target}\n")), "{answer}");
            }
            None => assert_eq!((&*answer, exit), ("result=deny\n", 1), "{}", String::from_utf8_lossy(reply)),
        }
        // What was no answer is told to the user; a plain no is not, unless the rule says so.
        let is_told = !matches!(reply, b"deny") && target.is_none();
        assert_eq!(told.try_recv().is_ok(), is_told, "{}", String::from_utf8_lossy(reply));
    }
}

#[test]
fn a_question_that_cannot_be_put_is_a_no() {
    let dom0 = Dom0::standard();
    assert_eq!(dom0.run(&["work", "vault", "test.Ask"]), ("result=deny\n".into(), 1), "no agent");
    let _asked = dom0.agent("policy.Ask", b"allow:work");
    assert_eq!(dom0.run(&["vault", "work", "test.Ask"]), ("result=deny\n".into(), 1), "no guivm");
}

#[test]
fn the_user_is_told_where_the_rule_says_so() {
    let dom0 = Dom0::standard();
    let told = dom0.agent("policy.Notify", b"");
    assert_eq!(dom0.run(&["work", "vault", "test.Told"]).1, 0);
    let note = json(&told.recv_timeout(LIMIT).unwrap(), "policy.Notify");
    assert_eq!((&note["resolution"], &note["target"]), (&"allow".into(), &"vault".into()));
    assert_eq!(dom0.run(&["work", "nosuch", "test.Nothing+y"]).1, 1);
    let note = json(&told.recv_timeout(LIMIT).unwrap(), "policy.Notify");
    assert_eq!((&note["resolution"], &note["target"]), (&"deny".into(), &"nosuch".into()));
    for quiet in
        [["work", "vault", "test.No"], ["work", "vault", "test.Yes"], ["vault", "work", "test.Nothing"]]
    {
        dom0.run(&quiet);
        assert!(told.try_recv().is_err(), "{quiet:?}");
    }
}

#[test]
fn without_qubesd_nothing_is_decided() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.run(&["work", "vault", "test.Yes"]), (String::new(), 1), "no answer, as upstream");
    let dom0 = Dom0::with_qubesd(b"2\0QubesException\0\0no\0");
    assert_eq!(dom0.run(&["work", "vault", "test.Yes"]), ("result=deny\n".into(), 1), "an error denies");
    let dom0 = Dom0::with_qubesd(b"0\0{\"domains\": []}");
    assert_eq!(dom0.run(&["work", "vault", "test.Yes"]), (String::new(), 1));
}

#[test]
fn the_agent_of_another_qube_is_reached_by_qrexec_client() {
    let directory = tempfile::tempdir().unwrap();
    let client = directory.path().join("client");
    let log = directory.path().join("log");
    let script = format!("#!/bin/sh\necho \"$@\" > {0}\ncat >> {0}\nprintf allow:vault\n", log.display());
    fixture::executable(&client, &script);
    let agents = qrexec_policy_exec::agent::Agents { services: Vec::new(), client };
    let system = SYSTEM.replace("\"guivm\":\"dom0\"", "\"guivm\":\"sys-gui\"");
    let system = policy::SystemInfo::from_json(system.as_bytes()).unwrap();
    std::fs::write(directory.path().join("1.policy"), RULES).unwrap();
    let rules = policy::Policy::load(&[directory.path()]).unwrap();
    let call = policy::Call::new("work", "test.Ask", "vault");
    let policy::Decision::Ask(ask) = rules.evaluate(&call, &system, policy::Options::default()) else {
        panic!()
    };
    assert!(agents.decide(&ask, &system).is_allowed());
    let sent = std::fs::read_to_string(&log).unwrap();
    let (first, rest) = sent.split_once('\n').unwrap();
    assert_eq!(first, "-d sys-gui DEFAULT:QUBESRPC policy.Ask dom0");
    assert_eq!(serde_json::from_str::<Value>(rest).unwrap()["service"], "test.Ask");
    let missing = qrexec_policy_exec::agent::Agents { client: "/nosuch".into(), ..agents };
    assert!(!missing.decide(&ask, &system).is_allowed());
}
