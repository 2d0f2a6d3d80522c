//! Something ends in the middle: a disposable, the qube that calls, the keeper, the host.

use crate::EDITOR;
use crate::common::{self, HOST, Serve, code, kill, processes_with, text};
use crate::domains::{domains, is_there, listed, named, vchan_names, waiting, xl};
use crate::touched::keepers;
use fixture::{eventually, random_bytes};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn a_disposable_destroyed_mid_stream_ends_the_call_and_leaves_the_file() {
    let serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    let content = [b"stay, draft ".as_slice(), &random_bytes(3, 1 << 16)].concat();
    serve.put("work", "report.txt", &content);
    let call = serve.exec("work", ["qvm-open-in-dvm", "report.txt"]).spawn().unwrap();
    let name = serve.running_application();
    let domain = named(&name).unwrap();
    let begun = Instant::now();
    xl(&["destroy", &domain.id]);
    let output = call.wait_with_output().unwrap();
    println!("\nfigure: caller told {} ms (emulated) after xl destroy began", begun.elapsed().as_millis());
    assert_ne!(code(&output), 0);
    assert!(serve.get("work", "report.txt") == content, "the file changed");
    eventually("its entry is gone", || {
        ["ready", "claimed", "used", "done"].iter().all(|place| !serve.place(place).contains(&name))
    });
    eventually("another one waits", || serve.place("ready").len() == 1);
    assert!(
        vchan_names().iter().all(|path| !path.contains(&format!("/{}/", domain.id))),
        "{:?}",
        vchan_names()
    );
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn m47_the_calling_qube_destroyed_mid_stream_takes_its_disposable_with_it() {
    let serve = Serve::start(&["--preload=1", "--with", EDITOR]);
    serve.put("work", "report.txt", b"stay");
    let call = serve.exec("work", ["qvm-open-in-dvm", "report.txt"]).spawn().unwrap();
    let disposable = named(&serve.running_application()).unwrap();
    let begun = Instant::now();
    // The application is silent: nothing that it writes could fail.
    xl(&["destroy", &named("work").unwrap().id]);
    assert_ne!(code(&call.wait_with_output().unwrap()), 0);
    eventually("the disposable is destroyed", || !is_there(&disposable.id));
    println!(
        "\nfigure: disposable gone {} ms (emulated) after xl destroy began",
        begun.elapsed().as_millis()
    );
    eventually("its entry is gone", || serve.place("used").is_empty() && serve.place("done").is_empty());
    // It comes up again, and all is as ever.
    serve.put("work", "report.txt", b"a draft\n");
    let output = serve.run("work", ["qvm-open-in-dvm", "report.txt"]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
}

/// The queue's lock, held here, keeps the keeper where it is to be killed.
#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p5_a_keeper_killed_between_pause_and_enqueue_leaves_no_domain() {
    let serve = Serve::start(&["--preload=1"]);
    let queue = serve.state.join("run/dispvm/default-dvm");
    let admin = admin::Client::new(serve.state.join("run/qubesd.sock"));
    let set_max = |max: &str| {
        let template = names::QubeRef::Name("default-dvm".parse().unwrap());
        admin.feature_set(&template, "preload-dispvm-max", max).unwrap();
    };
    set_max("0");
    eventually("none waits", || waiting().is_empty());
    set_max("1");
    // It has a domain and was last noted: the next time it needs the lock it is paused.
    eventually("one has started", || {
        let files = std::fs::read_dir(queue.join("starting")).unwrap().flatten();
        let texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default());
        texts.into_iter().any(|text| text.contains("domid=") && !text.contains("domid=0\n"))
    });
    let lock = Flock::lock(
        File::options().read(true).write(true).open(queue.join("lock")).unwrap(),
        FlockArg::LockExclusive,
    );
    let lock = lock.map_err(|(_, error)| error).unwrap();
    let mut paused = Vec::new();
    eventually("it is paused", || {
        paused = waiting();
        !paused.is_empty()
    });
    assert!(serve.place("ready").is_empty(), "it is in the queue already");
    keepers(&serve).into_iter().for_each(|pid| kill(pid, "KILL"));
    drop(lock);
    eventually("it is destroyed", || !is_there(&paused[0].id));
    eventually("another one waits", || serve.place("ready").len() == 1 && waiting().len() == 1);
    assert_ne!(serve.place("ready"), [paused[0].name.clone()]);
}

#[test]
#[ignore = "runs in dom0: cargo run -p xen-lab -- test"]
fn p5_a_host_killed_while_xl_makes_a_domain_leaves_none() {
    // Before the domain; whenever it happens to be; when there is one.
    for (delay, is_made) in [(0, false), (300, false), (0, true)] {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let state = directory.path().join("state");
        let mut host = Command::new(HOST)
            .args(["serve", "--preload=0", "--state"])
            .arg(&state)
            .args(common::hypervisor())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let configuration = state.join("run/xen/configurations/work").to_string_lossy().into_owned();
        eventually("xl makes the domain", || !processes_with(&configuration).is_empty());
        std::thread::sleep(Duration::from_millis(delay));
        eventually("there is a domain", || !is_made || !domains().is_empty());
        kill(host.id(), "KILL");
        host.wait().unwrap();
        eventually("xl has died with it", || processes_with(&configuration).is_empty());
        let left = domains().len();
        let moment = if is_made { "a domain was there" } else { "xl began" };
        println!(
            "\nfigure: killed {delay} ms (emulated) after {moment}: {left} domains left to the next host"
        );
        assert!(left > 0 || !is_made, "the domain went by itself");
        let mut next = Serve::start_in(&state, &["--preload=0"]);
        assert_eq!(listed(), ["Domain-0", "work"]);
        assert!(next.stop());
        assert!(domains().is_empty(), "{:?}", domains());
    }
}
