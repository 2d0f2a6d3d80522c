//! What callers and keepers leave that are killed or stopped half-way.

use crate::common::{Site, qube};
use crate::support::{
    Qmemman, TEMPLATE, configure, disposables, is_there, keeper, max, queue, set, signal, waiting,
};
use admin::PowerState;
use disposable::entry::Entry;
use disposable::queue::Place;
use fixture::{LIMIT, eventually};
use names::QubeRef;
use os::process::ProcessId;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A process that lives until it is killed, for which files can be written.
fn caller() -> (Child, ProcessId) {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    (child, ProcessId { pid, start: os::process::Stat::read(pid).unwrap().start })
}

#[test]
fn p5_a_caller_killed_before_it_noted_what_it_created_leaks_nothing() {
    let site = Site::new();
    max(&site, 1);
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let named = b"name=kept label=red";
    site.admin().call("admin.vm.Create.DispVM", TEMPLATE, "dom0", named).unwrap();
    // As the caller leaves it: it had said that it wants one, and had created it.
    let queue = queue(&site);
    let (mut caller, own) = caller();
    std::mem::forget(queue.want(own, os::monotonic_ns()).unwrap());
    let created = QubeRef::Uuid(site.admin().create_disposable(&qube(TEMPLATE)).unwrap());
    let name = site.admin().name_of(&created).unwrap();
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("it is gone", || !is_there(&site, &name));
    eventually("so is its note", || {
        [Place::Claimed, Place::Done].into_iter().all(|place| queue.count(place).unwrap() == 0)
    });
    assert!(is_there(&site, &"kept".parse().unwrap()), "M4: a named one is nobody's leftover");
    assert_eq!(waiting(&site, TEMPLATE).len(), 1);
}

#[test]
fn p5_a_caller_killed_after_it_noted_what_it_created_leaks_nothing() {
    let site = Site::new();
    max(&site, 0);
    set(&site, "default-dvm", "preload-dispvm-max", "1");
    eventually("one waits", || waiting(&site, TEMPLATE).len() == 1);
    let queue = queue(&site);
    let (mut caller, own) = caller();
    let wanted = queue.want(own, os::monotonic_ns()).unwrap();
    let uuid = site.admin().create_disposable(&qube(TEMPLATE)).unwrap();
    let name = site.admin().name_of(&QubeRef::Uuid(uuid)).unwrap();
    let waiting = queue.list(Place::Ready).unwrap().remove(0).entry.unwrap();
    let entry = Entry { name: name.clone(), uuid, claimer: Some(own), ..waiting };
    std::mem::forget(wanted.became(entry).unwrap());
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("it is gone", || !is_there(&site, &name) && queue.count(Place::Claimed).unwrap() == 0);
}

#[test]
fn m19_a_keeper_that_is_stopped_while_it_makes_one_ends_that_one_too() {
    let qmemman = Qmemman::new();
    let listener = UnixListener::bind(&qmemman.path).unwrap();
    let site = Site::with(|config| configure(&config.layout, &qmemman.line()));
    site.admin().property_set(&qube(TEMPLATE), "maxmem", "800").unwrap();
    let keeper = keeper(&site);
    max(&site, 1);
    let (open, _) = qmemman.asked(&listener);
    let starting = queue(&site).list(Place::Starting).unwrap().remove(0).entry.unwrap().name;
    assert!(is_there(&site, &starting));
    let own = ProcessId { pid: keeper, start: os::process::Stat::read(keeper).unwrap().start };
    signal(keeper, "TERM");
    eventually("the keeper ends", || !own.is_alive());
    assert!(!is_there(&site, &starting), "it ended what it was making");
    let log = fs::read_to_string(site.layout.log().join("preload-dispvm.log")).unwrap();
    assert!(!log.contains("the next keeper ends them"), "it waited for nothing: {log}");
    drop(open);
}

/// A keeper of our own, which does not outlive its test.
struct Own(Child);

impl Own {
    fn start(site: &Site) -> Self {
        Self(own_keeper(site, &[]).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The keeper's program, with the settings of this host, which starts none itself.
fn own_keeper(site: &Site, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qubes-host"));
    command.arg0("preload-dispvm").args(words).env("QUBES_DISPVM_CONFIG", site.layout.dispvm_config());
    command
}

/// Stands between qubesd and a keeper that is started afterwards: the answer to each of these calls is held back until `go` says
/// so.
fn slow(site: &Site, call: &'static str) -> (Receiver<()>, Sender<()>) {
    let (held, is_held) = channel();
    let (go, may_go) = channel::<()>();
    let path = site.layout.state().join("slow.sock");
    let (listener, real) = (os::socket::listen(&path).unwrap(), site.layout.qubesd_socket());
    let may_go = Arc::new(Mutex::new(may_go));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (held, may_go, mut real) =
                (held.clone(), may_go.clone(), os::socket::connect(&real).unwrap());
            std::thread::spawn(move || {
                let mut question = Vec::new();
                stream.read_to_end(&mut question).unwrap();
                real.write_all(&question).unwrap();
                real.shutdown(Shutdown::Write).unwrap();
                if question.starts_with(call.as_bytes()) {
                    let mut answer = Vec::new();
                    real.read_to_end(&mut answer).unwrap();
                    held.send(()).ok();
                    may_go.lock().unwrap().recv().ok();
                    drop(stream.write_all(&answer));
                } else {
                    drop(std::io::copy(&mut real, &mut stream));
                }
            });
        }
    });
    let config = site.layout.dispvm_config();
    let own = |path: &Path| format!("qubesd-socket = \"{}\"", path.display());
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, text.replace(&own(&site.layout.qubesd_socket()), &own(&path))).unwrap();
    (is_held, go)
}

#[test]
fn m19_a_keeper_that_is_stopped_while_one_is_created_ends_that_one_too() {
    let site = Site::with(|config| config.keeper = false);
    let (created, go) = slow(&site, "admin.vm.CreateDisposable");
    let mut keeper = Own::start(&site);
    max(&site, 1);
    created.recv_timeout(LIMIT).unwrap();
    let name = disposables(&site).remove(0).name;
    signal(keeper.pid(), "TERM");
    eventually("its reservation is taken away", || queue(&site).count(Place::Starting).unwrap() == 0);
    go.send(()).unwrap();
    assert!(keeper.0.wait().unwrap().success());
    assert!(!is_there(&site, &name), "it ended what was being created");
}

/// Its start is told to whoever starts GUI and audio for it, who then asks whether it is one that waits.
#[test]
fn r106_none_is_started_before_clients_see_that_it_is_one_that_waits() {
    let site = Site::with(|config| config.keeper = false);
    let (shown, go) = slow(&site, "admin.vm.feature.Set+preload-dispvm ");
    let _keeper = Own::start(&site);
    max(&site, 1);
    shown.recv_timeout(LIMIT).expect("that none is there");
    go.send(()).unwrap();
    shown.recv_timeout(LIMIT).expect("that one is there");
    std::thread::sleep(Duration::from_millis(300));
    let made = disposables(&site);
    assert_eq!(made.iter().map(|line| line.state).collect::<Vec<_>>(), [PowerState::Halted]);
    drop(go);
    eventually("it waits", || waiting(&site, TEMPLATE) == [made[0].name.clone()]);
}

#[test]
fn r118_what_a_dead_keeper_left_is_destroyed_without_one() {
    let site = Site::with(|config| config.keeper = false);
    let none = own_keeper(&site, &["--empty"]).output().unwrap();
    assert!(none.status.success(), "no queue, no work: {none:?}");
    let keeper = Own::start(&site);
    max(&site, 2);
    eventually("two wait", || waiting(&site, TEMPLATE).len() == 2);
    let held = waiting(&site, TEMPLATE);
    let refused = own_keeper(&site, &["--empty"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("a keeper keeps") && words.contains("stop it"), "{words}");
    assert_eq!(waiting(&site, TEMPLATE), held, "nothing was destroyed");
    drop(keeper);
    assert_eq!(waiting(&site, TEMPLATE), held, "a killed keeper leaves them");
    let emptied = own_keeper(&site, &["--empty"]).output().unwrap();
    assert!(emptied.status.success(), "{emptied:?}");
    assert_eq!(disposables(&site), [], "all are gone");
    assert!(Place::ALL.into_iter().all(|place| queue(&site).count(place).unwrap() == 0));
}
