//! What becomes of qubes when those who should care for them are killed.

use crate::world::{WAYS, World, eventually, id, marked, supervisor};
use hypervisor::local::{Isolation, Local, Pausing, Spec};
use hypervisor::{Hypervisor, HypervisorError};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use os::process::ProcessId;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SCRIPT: &str = "(setsid sleep 1000 &) ; sleep 1000 & wait";

/// The variables of [`a_host_for_other_tests`]: registry, qube directory, isolation and pausing as numbers in `WAYS`, mark.
const HOST_VARIABLES: [&str; 4] = ["HOST_REGISTRY", "HOST_DIRECTORY", "HOST_WAY", "HOST_MARK"];

#[test]
fn p5_sigkill_of_the_host_ends_the_qube() {
    for (number, way) in WAYS.into_iter().enumerate() {
        let world = World::new();
        let Some((spec, mut host, record)) = qube_of_another_host(&world, way, number) else { continue };
        host.kill().unwrap();
        host.wait().unwrap();
        eventually("its record goes", || world.local.info(id(21)).unwrap().is_none());
        eventually("its supervisor goes", || !supervisor_in(&record).is_alive());
        world.assert_nothing_left(&spec, &record);
    }
}

#[test]
fn p5_sigkill_of_host_and_supervisor_leaves_what_a_sweep_clears_away() {
    for (number, way) in WAYS.into_iter().enumerate() {
        for paused in [false, true] {
            let world = World::new();
            let Some((spec, mut host, record)) = qube_of_another_host(&world, way, number) else { continue };
            if paused {
                world.local.pause(id(21)).unwrap();
            }
            let supervisor = supervisor_in(&record);
            // Stopped first, so that it cannot do its duty in the moment between the two deaths.
            kill(Pid::from_raw(supervisor.pid), Signal::SIGSTOP).unwrap();
            host.kill().unwrap();
            host.wait().unwrap();
            kill(Pid::from_raw(supervisor.pid), Signal::SIGKILL).unwrap();
            eventually("it is dead", || !supervisor.is_alive());
            assert!(world.record_path(id(21)).exists());

            let swept = world.local.sweep();
            assert_eq!(swept.len(), 1);
            assert_eq!((swept[0].domid, swept[0].name.as_ref()), (id(21), Some(&spec.name)));
            assert!(swept[0].result.is_ok(), "{way:?} {paused}: {swept:?}");
            world.assert_nothing_left(&spec, &record);
        }
    }
}

#[test]
fn p5_sigkill_of_the_supervisor_alone_is_seen_and_can_be_cleared_away() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(22, way, SCRIPT);
        let Some(mut created) = world.start(&spec) else { continue };
        let record = world.record(id(22));
        created.supervisor.kill().unwrap();
        created.supervisor.wait().unwrap();
        eventually("it dies", || world.local.info(id(22)).unwrap().is_none_or(|info| info.dying));
        world.local.destroy(id(22)).unwrap();
        world.assert_nothing_left(&spec, &record);
    }
}

#[test]
fn p5_a_supervisor_killed_as_it_writes_leaves_no_half_a_record() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(24, way, SCRIPT);
        let Some(mut created) = world.start(&spec) else { continue };
        let record = world.record(id(24));
        created.supervisor.kill().unwrap();
        created.supervisor.wait().unwrap();
        let half = world.top.path().join(format!("domains/.new-24-{}", created.supervisor.id()));
        std::fs::write(half, &record[..9]).unwrap();
        world.local.destroy(id(24)).unwrap();
        world.assert_nothing_left(&spec, &record);
    }
}

#[test]
fn p5_a_start_destroyed_at_any_moment_leaves_nothing() {
    for way in WAYS {
        for step in 0..24 {
            let world = World::new();
            let spec = world.spec(25, way, SCRIPT);
            let starting = {
                let (local, spec) = (world.local.clone(), spec.clone());
                std::thread::spawn(move || local.create(&spec, &supervisor()))
            };
            std::thread::sleep(Duration::from_micros(400 * step));
            loop {
                // Asked before: what has started until then is there.
                let is_over = starting.is_finished();
                match world.local.destroy(id(25)) {
                    Ok(()) => break,
                    Err(HypervisorError::NoSuchDomain(_)) if !is_over => std::thread::yield_now(),
                    // This machine offers no such thing.
                    Err(HypervisorError::NoSuchDomain(_)) => break,
                    Err(error) => panic!("{way:?} {step}: {error}"),
                }
            }
            if let Ok(mut created) = starting.join().unwrap() {
                created.supervisor.wait().unwrap();
            }
            world.assert_nothing_left(&spec, "cgroup=none");
        }
    }
}

#[test]
fn p5_sigkill_of_init_ends_the_qube() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(23, way, SCRIPT);
        let Some(mut created) = world.start(&spec) else { continue };
        let record = world.record(id(23));
        kill(Pid::from_raw(created.init.pid), Signal::SIGKILL).unwrap();
        assert_eq!(created.supervisor.wait().unwrap().code(), Some(137));
        world.assert_nothing_left(&spec, &record);
    }
}

#[test]
fn p5_a_host_killed_at_any_moment_of_a_start_leaves_nothing_after_a_sweep() {
    for (number, way) in WAYS.into_iter().enumerate() {
        for step in 0..12 {
            let world = World::new();
            let spec = world.spec(21, way, SCRIPT);
            let mut host = start_host(&world, &spec, number);
            std::thread::sleep(Duration::from_micros(700 * step));
            host.kill().unwrap();
            host.wait().unwrap();
            for swept in world.local.sweep() {
                assert!(swept.result.is_ok(), "{way:?}: {swept:?}");
            }
            eventually("all of it goes", || {
                marked(spec.uuid).is_empty() && !world.record_path(id(21)).exists()
            });
        }
    }
}

#[test]
fn a_damaged_record_is_swept_too() {
    let world = World::new();
    std::fs::create_dir(world.top.path().join("domains")).unwrap();
    std::fs::write(world.record_path(id(30)), "junk").unwrap();
    std::fs::write(world.top.path().join("domains/.new-31-1"), "").unwrap();
    assert!(world.local.info(id(30)).is_err());
    assert!(world.local.sweep().iter().all(|swept| swept.name.is_none() && swept.result.is_ok()));
    assert_eq!(std::fs::read_dir(world.top.path().join("domains")).unwrap().count(), 0);
}

/// Not a test by itself: what other tests run as a process that they can kill.
#[test]
fn a_host_for_other_tests() {
    let variables: Option<Vec<String>> = HOST_VARIABLES.iter().map(|name| std::env::var(name).ok()).collect();
    let Some([registry, directory, way, uuid]) = variables.as_deref() else { return };
    let world = World::new();
    let mut spec = world.spec(21, WAYS[way.parse::<usize>().unwrap()], SCRIPT);
    spec.directory = PathBuf::from(directory);
    spec.uuid = uuid.parse().unwrap();
    spec.environment = vec![("TEST_MARK".to_owned(), uuid.clone())];
    let created = Local::new(registry.into()).create(&spec, &supervisor());
    std::thread::sleep(Duration::from_secs(60));
    drop(created);
}

fn qube_of_another_host(
    world: &World,
    way: (Isolation, Pausing),
    number: usize,
) -> Option<(Spec, Child, String)> {
    let spec = world.spec(21, way, SCRIPT);
    // Whether it can be done at all, is best asked here.
    drop(world.start(&spec)?);
    eventually("the trial ends", || world.local.info(id(21)).unwrap().is_none());
    let host = start_host(world, &spec, number);
    eventually("it runs", || marked(spec.uuid).len() >= 3 && world.record_path(id(21)).exists());
    let record = world.record(id(21));
    Some((spec, host, record))
}

fn start_host(world: &World, spec: &Spec, number: usize) -> Child {
    let values = [
        world.top.path().join("domains").into_os_string(),
        spec.directory.clone().into_os_string(),
        number.to_string().into(),
        spec.uuid.to_string().into(),
    ];
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::a_host_for_other_tests", "--test-threads=1"])
        .envs(HOST_VARIABLES.into_iter().zip(values))
        // Killed, it removes nothing of its own.
        .env("TMPDIR", world.top.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn supervisor_in(record: &str) -> ProcessId {
    record.lines().find_map(|line| line.strip_prefix("supervisor=")).unwrap().parse().unwrap()
}
