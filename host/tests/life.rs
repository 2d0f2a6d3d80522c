//! Lives of real qubes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use admin::{ErrorClass, EventStream, PowerState};
use common::{Site, processes_with, qube};
use fixture::eventually;
use hypervisor::local::{Isolation, Mount};
use names::{DomId, QubeRef};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use os::process::ProcessId;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

/// Everything from now on: the server says when it has begun to listen.
fn follow(site: &Site) -> EventStream {
    let mut events = site.admin().events().unwrap();
    assert_eq!(events.next().unwrap().unwrap().name, "connection-established");
    events
}

/// Events up to and with the first of this name about this subject.
fn until(events: &mut EventStream, subject: &str, name: &str) -> Vec<String> {
    let mut seen = Vec::new();
    for event in events {
        let event = event.unwrap();
        seen.push(common::short(&event));
        if event.subject == subject && event.name == name {
            return seen;
        }
    }
    panic!("the stream ended: {seen:?}");
}

fn state(site: &Site, name: &str) -> PowerState {
    site.admin().qube(&qube(name)).unwrap().state
}

fn domid(site: &Site, name: &str) -> u32 {
    site.admin().property_get(&qube(name), "xid").unwrap().value.parse().unwrap()
}

/// Runs a command line in a qube through its qrexec daemon; exit code and output.
fn run(site: &Site, name: &str, command: &str) -> (i32, String) {
    let vchan = vchan::Config { dir: site.layout.vchan(), own: DomId::DOM0 };
    let client = qrexec::client::Client { socket_dir: site.layout.run(), vchan };
    let words: Vec<&[u8]> = vec![b"sh", b"-c", command.as_bytes()];
    let text = format!("DEFAULT:QUBESRPC qubes.VMExec+{} dom0", vm::vmexec::encode(&words));
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let errors = fs::File::options().append(true).open("/dev/null").unwrap();
    let connected = client.start(name, &text).unwrap().connect().unwrap();
    let report = connected.run(None, write, errors.into(), &qrexec::data::Options::default()).unwrap();
    let mut output = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(read), &mut output).unwrap();
    match report.end {
        qrexec::data::CallEnd::Exit(code) => (code, output),
        end => panic!("{command}: {end:?}"),
    }
}

#[test]
fn start_and_kill_in_the_order_of_events() {
    let site = Site::new();
    let mut events = follow(&site);
    site.host.start_qube("work").unwrap();
    assert_eq!(state(&site, "work"), PowerState::Running);
    assert!(site.layout.daemon_link(&"work".parse().unwrap()).exists());
    let names = |seen: Vec<String>| -> Vec<String> {
        let of_work = seen.into_iter().filter_map(|event| event.strip_prefix("work ").map(str::to_owned));
        of_work.collect()
    };
    let starts = names(until(&mut events, "work", "domain-start"));
    let expected = "domain-pre-start domain-pre-spawn property-reset:xid property-reset:stubdom_xid \
        property-reset:start_time domain-spawn domain-qdb-create domain-pre-unpaused domain-unpaused domain-start";
    assert_eq!(starts.join(" "), expected);
    site.host.start_qube("work").unwrap();
    assert_eq!(run(&site, "work", "id -u; echo $QUBE_NAME"), (0, "1000\nwork\n".into()));
    site.admin().kill(&qube("work")).unwrap();
    assert_eq!(state(&site, "work"), PowerState::Halted);
    let ends = names(until(&mut events, "work", "domain-shutdown"));
    let expected = "domain-stopped property-reset:xid property-reset:stubdom_xid property-reset:start_time \
        domain-shutdown";
    assert_eq!(ends.join(" "), expected);
    assert!(fs::read_link(site.layout.daemon_link(&"work".parse().unwrap())).is_err());
    assert_eq!(site.refusal("admin.vm.Kill", "", "work", b""), ErrorClass::QubesVMNotStartedError);
}

#[test]
fn many_starts_of_one_qube_are_one() {
    let site = Site::new();
    let gate = Barrier::new(6);
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                gate.wait();
                site.host.start_qube("work").unwrap();
                assert_eq!(state(&site, "work"), PowerState::Running);
            });
        }
    });
    assert_eq!(domid(&site, "work"), 1);
}

#[test]
fn pause_and_unpause_with_the_truth_of_the_hypervisor() {
    let site = Site::new();
    site.host.start_qube("work").unwrap();
    let work = qube("work");
    site.admin().pause(&work).unwrap();
    assert_eq!(state(&site, "work"), PowerState::Paused);
    assert_eq!(site.refusal("admin.vm.Pause", "", "work", b""), ErrorClass::QubesVMNotRunningError);
    assert_eq!(site.refusal("admin.vm.Shutdown", "", "work", b""), ErrorClass::QubesVMNotRunningError);
    // Woken behind the back of the Admin API, as the queue does it.
    let hypervisor = hypervisor::local::Local::new(site.layout.domains());
    let id = DomId::try_from(domid(&site, "work")).unwrap();
    hypervisor::Hypervisor::unpause(&hypervisor, id).unwrap();
    assert_eq!(state(&site, "work"), PowerState::Running);
    assert_eq!(site.refusal("admin.vm.Unpause", "", "work", b""), ErrorClass::QubesVMNotPausedError);
    site.admin().pause(&work).unwrap();
    site.admin().unpause(&work).unwrap();
    assert_eq!(run(&site, "work", "echo awake"), (0, "awake\n".into()));
    site.admin().pause(&work).unwrap();
    assert_eq!(site.text("admin.vm.Shutdown", "force+wait", "work", b""), "");
    assert_eq!(state(&site, "work"), PowerState::Halted);
}

#[test]
fn r17_a_disposable_vanishes_with_its_directory_and_its_number_rests() {
    let site = Site::new();
    let template = qube("default-dvm");
    fs::create_dir_all(site.layout.private("default-dvm")).unwrap();
    fs::write(site.layout.private("default-dvm").join("note"), "from the template").unwrap();
    let disposable = QubeRef::Uuid(site.admin().create_disposable(&template).unwrap());
    site.admin().start(&disposable).unwrap();
    let name = site.admin().name_of(&disposable).unwrap();
    assert_eq!(run(&site, name.as_str(), "cat note; echo mine > note"), (0, "from the template".into()));
    let mut events = follow(&site);
    site.admin().kill(&disposable).unwrap();
    let seen = until(&mut events, "", "domain-delete");
    assert!(seen.contains(&format!("{name} domain-shutdown")), "{seen:?}");
    let gone = site.admin().qube(&disposable).unwrap_err();
    assert_eq!(gone.class(), Some(&ErrorClass::QubesVMNotFoundError));
    assert!(!site.layout.qube(name.as_str()).exists());
    assert_eq!(fs::read(site.layout.private("default-dvm").join("note")).unwrap(), b"from the template");
    eventually("nothing of it is left on disk", || {
        let entries = fs::read_dir(site.layout.qubes()).unwrap().flatten();
        entries.map(|entry| entry.file_name()).all(|left| !left.to_string_lossy().contains(name.as_str()))
    });
}

#[test]
fn a_named_disposable_stays_but_forgets() {
    let site = Site::new();
    site.text("admin.vm.Create.DispVM", "default-dvm", "dom0", b"name=my-disp label=red");
    site.host.start_qube("my-disp").unwrap();
    assert_eq!(run(&site, "my-disp", "echo x > here; ls"), (0, "here\n".into()));
    site.admin().kill(&qube("my-disp")).unwrap();
    site.host.start_qube("my-disp").unwrap();
    assert_eq!(run(&site, "my-disp", "ls"), (0, String::new()));
}

#[test]
fn a_qube_keeps_its_home_and_nothing_else() {
    let site = Site::new();
    site.host.start_qube("work").unwrap();
    run(&site, "work", "echo kept > kept; echo lost > /tmp/lost");
    site.admin().kill(&qube("work")).unwrap();
    site.host.start_qube("work").unwrap();
    assert_eq!(run(&site, "work", "cat kept; ls /tmp"), (0, "kept\n".into()));
}

#[test]
fn the_end_of_a_qube_is_noticed_whatever_ends_it() {
    let site = Site::new();
    let mut events = follow(&site);
    let disposable = QubeRef::Uuid(site.admin().create_disposable(&qube("default-dvm")).unwrap());
    site.admin().start(&disposable).unwrap();
    let name = site.admin().name_of(&disposable).unwrap();
    // Behind the back of the Admin API.
    let hypervisor = hypervisor::local::Local::new(site.layout.domains());
    let id = DomId::try_from(domid(&site, name.as_str())).unwrap();
    hypervisor::Hypervisor::destroy(&hypervisor, id).unwrap();
    until(&mut events, "", "domain-delete");
    assert!(site.admin().qube(&disposable).is_err());
    // By its own agent, which is its first program.
    site.host.start_qube("work").unwrap();
    let agent = processes_with("QUBE_NAME=work");
    assert!(!agent.is_empty());
    run_and_lose(&site, "work", "kill -9 -1");
    until(&mut events, "work", "domain-shutdown");
    assert_eq!(state(&site, "work"), PowerState::Halted);
    assert!(fs::read_link(site.layout.daemon_link(&"work".parse().unwrap())).is_err());
    // By the end of the process that would have cleared it away.
    site.host.start_qube("work").unwrap();
    let record = site.layout.domains().join(domid(&site, "work").to_string());
    let text = fs::read_to_string(&record).unwrap();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let supervisor: ProcessId = value("supervisor=").parse().unwrap();
    kill(Pid::from_raw(supervisor.pid), Signal::SIGKILL).unwrap();
    until(&mut events, "work", "domain-shutdown");
    assert!(!record.exists(), "its record is left");
    assert_eq!(processes_with(&format!("QUBE_UUID={}", value("uuid="))), [0_i32; 0]);
}

fn run_and_lose(site: &Site, name: &str, command: &str) {
    let vchan = vchan::Config { dir: site.layout.vchan(), own: DomId::DOM0 };
    let client = qrexec::client::Client { socket_dir: site.layout.run(), vchan };
    let words: Vec<&[u8]> = vec![b"sh", b"-c", command.as_bytes()];
    let text = format!("DEFAULT:QUBESRPC qubes.VMExec+{} dom0", vm::vmexec::encode(&words));
    let null = || fs::File::options().append(true).open("/dev/null").unwrap().into();
    if let Ok(connected) = client.start(name, &text).unwrap().connect() {
        drop(connected.run(None, null(), null().into(), &qrexec::data::Options::default()));
    }
}

#[test]
fn r7_what_cannot_start_is_cleared_away() {
    // A service cannot have this name, so the domain cannot be described.
    let broken = Site::with(|config| config.services = vec![("../x".into(), "y".into())]);
    let mut events = follow(&broken);
    assert_eq!(broken.refusal("admin.vm.Start", "", "work", b""), ErrorClass::QubesException);
    assert_eq!(state(&broken, "work"), PowerState::Halted);
    let seen = until(&mut events, "work", "domain-start-failed");
    assert!(!seen.contains(&"work domain-spawn".to_owned()));
    let disposable = QubeRef::Uuid(broken.admin().create_disposable(&qube("default-dvm")).unwrap());
    assert!(broken.admin().start(&disposable).is_err());
    assert_eq!(
        broken.admin().qube(&disposable).unwrap_err().class(),
        Some(&ErrorClass::QubesVMNotFoundError)
    );
}

#[test]
fn m4_a_named_disposable_that_cannot_start_keeps_its_settings() {
    let broken = Site::with(|config| config.services = vec![("../x".into(), "y".into())]);
    broken.text("admin.vm.Create.DispVM", "default-dvm", "dom0", b"name=my-disp label=purple");
    for _ in 0..2 {
        assert_eq!(broken.refusal("admin.vm.Start", "", "my-disp", b""), ErrorClass::QubesException);
        assert_eq!(state(&broken, "my-disp"), PowerState::Halted);
        assert_eq!(broken.admin().property_get(&qube("my-disp"), "label").unwrap().value, "purple");
    }
}

#[test]
fn r6_a_template_that_is_none_any_more() {
    let site = Site::new();
    site.text("admin.vm.Create.AppVM", "system", "dom0", b"name=dvm label=red");
    site.text("admin.vm.property.Set", "template_for_dispvms", "dvm", b"True");
    let disposable = QubeRef::Uuid(site.admin().create_disposable(&qube("dvm")).unwrap());
    // It is used explicitly, so this is refused; the file may say otherwise, and so may a race.
    assert_eq!(
        site.refusal("admin.vm.property.Set", "template_for_dispvms", "dvm", b"False"),
        ErrorClass::QubesVMInUseError
    );
    site.admin().start(&disposable).unwrap();
    site.admin().kill(&disposable).unwrap();
    site.text("admin.vm.property.Set", "template_for_dispvms", "dvm", b"False");
    assert_eq!(site.refusal("admin.vm.CreateDisposable", "", "dvm", b""), ErrorClass::QubesException);
}

#[test]
fn kills_and_starts_at_the_same_time_leave_nothing() {
    let site = Arc::new(Site::new());
    thread::scope(|scope| {
        for _ in 0..6 {
            let site = site.clone();
            scope.spawn(move || {
                let disposable = QubeRef::Uuid(site.admin().create_disposable(&qube("default-dvm")).unwrap());
                let (starter, killer) = (site.admin(), site.admin());
                let killed = disposable.clone();
                let kill = thread::spawn(move || {
                    while killer
                        .kill(&killed)
                        .is_err_and(|error| error.class() != Some(&ErrorClass::QubesVMNotFoundError))
                    {
                        thread::yield_now();
                    }
                });
                drop(starter.start(&disposable));
                kill.join().unwrap();
            });
        }
    });
    eventually("no disposable is left", || {
        site.admin().list().unwrap().iter().all(|line| !line.name.as_str().starts_with("disp"))
    });
    let registry = fs::read_dir(site.layout.domains()).unwrap();
    let left: Vec<_> = registry.flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        fs::read_dir(site.layout.run())
            .unwrap()
            .flatten()
            .all(|entry| { !entry.file_name().to_string_lossy().starts_with("qrexec.") })
    );
}

#[test]
fn stop_leaves_nothing_running_and_saves() {
    let site = Site::new();
    site.host.start_qube("work").unwrap();
    site.host.start_qube("vault").unwrap();
    let disposable = QubeRef::Uuid(site.admin().create_disposable(&qube("default-dvm")).unwrap());
    site.admin().start(&disposable).unwrap();
    // Other tests of this process have hosts, too: only ours know this directory.
    let state = site.layout.state().to_str().unwrap().to_owned();
    let own = processes_with(&state);
    assert!(own.len() >= 4, "keeper and three daemons");
    site.host.stop().unwrap();
    assert!(processes_with(&state).is_empty(), "processes");
    let left: Vec<_> =
        fs::read_dir(site.layout.run()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["story.sock"]);
    assert!(fs::read_dir(site.layout.vchan()).unwrap().next().is_none());
    let directories: Vec<_> =
        fs::read_dir(site.layout.qubes()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(directories.iter().all(|name| !name.to_string_lossy().contains("disp")), "{directories:?}");
    assert!(site.host.start_qube("work").is_err());
    site.host.stop().unwrap();
}

#[test]
fn only_work_sees_what_is_shared_with_it() {
    let shared = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(shared.path().join("letter"), "dear").unwrap();
    let source = shared.path().to_owned();
    let site = Site::with(|config| {
        config.work_mounts = vec![Mount { source, target: "/home/user/Shared".into(), writable: true }];
        config.environment = vec![("QUBES_OPEN_WITH".into(), "cat".into())];
    });
    site.host.start_qube("work").unwrap();
    site.host.start_qube("vault").unwrap();
    assert_eq!(run(&site, "vault", "echo $QUBES_OPEN_WITH"), (0, "cat\n".into()));
    if site.host.isolation(&"work".parse().unwrap()) != Some(Isolation::Namespaces) {
        return;
    }
    assert_eq!(run(&site, "work", "cat Shared/letter; echo sir >> Shared/letter"), (0, "dear".into()));
    assert_eq!(fs::read(shared.path().join("letter")).unwrap(), b"dearsir\n");
    assert_ne!(run(&site, "vault", "cat Shared/letter").0, 0);
}

#[test]
fn plain_processes_where_namespaces_are_not_wanted() {
    let site = Site::with(|config| config.isolation = Isolation::Processes);
    site.host.start_qube("work").unwrap();
    assert_eq!(site.host.isolation(&"work".parse().unwrap()), Some(Isolation::Processes));
    assert_eq!(run(&site, "work", "echo here").0, 0);
    site.admin().pause(&qube("work")).unwrap();
    site.admin().unpause(&qube("work")).unwrap();
    site.admin().kill(&qube("work")).unwrap();
    assert!(processes_with("QUBE_NAME=work\0").iter().all(|pid| !of_site(*pid, site.layout.state())));
}

fn of_site(pid: i32, state: &Path) -> bool {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = state.to_str().unwrap().as_bytes().to_vec();
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn a_host_whose_state_directory_was_removed_ends_its_qubes() {
    let site = Site::with(|config| config.keeper = false);
    site.host.start_qube("work").unwrap();
    let mark = format!("QUBE_UUID={}", site.admin().qube(&qube("work")).unwrap().uuid);
    assert!(!processes_with(&mark).is_empty());
    fs::remove_dir_all(site.layout.state()).unwrap();
    site.host.stop().unwrap();
    assert_eq!(processes_with(&mark), [0_i32; 0]);
}

#[test]
fn a_second_host_in_the_same_directory_is_refused() {
    let site = Site::new();
    let config = qubes_host::HostConfig::new(site.layout.clone(), common::EXECUTABLE.into());
    let error = qubes_host::Host::start(config).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    let error = site.layout.create().unwrap_err();
    assert!(error.to_string().contains("runs in"), "{error}");
    assert_eq!(state(&site, "work"), PowerState::Halted, "the first one still answers");
}
