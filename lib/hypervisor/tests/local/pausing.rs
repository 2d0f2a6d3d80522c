//! Pause and wake-up, by each means.

use crate::world::{WAYS, World, eventually, id, marked, size};
use hypervisor::{Hypervisor, HypervisorError};
use os::process::Stat;
use std::fs;
use std::path::Path;
use std::time::Duration;

const COUNTER: &str = "while :; do echo x >> $HOME/counter; sleep 0.002; done";

/// Forks as fast as it can: children, grandchildren whose parents die, and whole sessions of their own; all write.
const FORKER: &str = "
    while :; do
        (sleep 0.01; echo x >> $HOME/counter) &
        ( (sleep 0.02; echo x >> $HOME/counter) & )
        setsid sh -c 'sleep 0.01; echo x >> $HOME/counter' &
        true
    done";

#[test]
fn a_paused_qube_stands_still_and_goes_on() {
    for script in [COUNTER, FORKER] {
        for way in WAYS {
            let world = World::new();
            let spec = world.spec(11, way, script);
            let Some(mut created) = world.start(&spec) else { continue };
            let record = world.record(id(11));
            let counter = spec.directory.join("private/counter");
            for _ in 0..3 {
                let before = size(&counter);
                eventually("it counts", || size(&counter) > before);
                assert_paused_in_full(&world, &spec, &counter);
                world.local.unpause(id(11)).unwrap();
                assert!(!world.local.info(id(11)).unwrap().unwrap().paused);
            }
            world.local.pause(id(11)).unwrap();
            world.local.destroy(id(11)).unwrap();
            world.assert_nothing_left(&spec, &record);
            created.supervisor.wait().unwrap();
        }
    }
}

fn assert_paused_in_full(world: &World, spec: &hypervisor::local::Spec, counter: &Path) {
    world.local.pause(spec.domid).unwrap();
    let (length, processes) = (size(counter), marked(spec.uuid));
    let info = world.local.info(spec.domid).unwrap().unwrap();
    assert!(info.paused && !info.dying);
    std::thread::sleep(Duration::from_millis(100));
    let way = (spec.isolation, spec.pausing);
    assert_eq!((size(counter), marked(spec.uuid)), (length, processes), "{way:?}");
}

#[test]
fn a_running_forker_is_killed_to_the_last() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(12, way, FORKER);
        let Some(mut created) = world.start(&spec) else { continue };
        let record = world.record(id(12));
        let counter = spec.directory.join("private/counter");
        eventually("it forks", || size(&counter) > 20);
        world.local.destroy(id(12)).unwrap();
        world.assert_nothing_left(&spec, &record);
        created.supervisor.wait().unwrap();
    }
}

#[test]
fn pauses_are_not_counted_but_refused() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(13, way, COUNTER);
        let Some(_created) = world.start(&spec) else { continue };
        assert!(matches!(world.local.unpause(id(13)), Err(HypervisorError::NotPaused(_))), "{way:?}");
        world.local.pause(id(13)).unwrap();
        assert!(matches!(world.local.pause(id(13)), Err(HypervisorError::AlreadyPaused(_))), "{way:?}");
        world.local.unpause(id(13)).unwrap();
        assert!(matches!(world.local.unpause(id(13)), Err(HypervisorError::NotPaused(_))), "{way:?}");
    }
    let world = World::new();
    assert!(matches!(world.local.pause(id(1)), Err(HypervisorError::NoSuchDomain(_))));
    assert!(matches!(world.local.unpause(id(1)), Err(HypervisorError::NoSuchDomain(_))));
}

#[test]
fn of_many_wakers_at_once_one_succeeds() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(14, way, COUNTER);
        let Some(_created) = world.start(&spec) else { continue };
        for _ in 0..10 {
            world.local.pause(id(14)).unwrap();
            let woken: usize = std::thread::scope(|scope| {
                let wakers: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| world.local.unpause(id(14)).is_ok())).collect();
                wakers.into_iter().map(|waker| usize::from(waker.join().unwrap())).sum()
            });
            assert_eq!(woken, 1, "{way:?}");
        }
    }
}

#[test]
fn the_supervisor_runs_on_and_ends_a_paused_qube_with_its_lifeline() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(15, way, FORKER);
        let Some(mut created) = world.start(&spec) else { continue };
        let record = world.record(id(15));
        world.local.pause(id(15)).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        drop(created.supervisor.stdin.take());
        created.supervisor.wait().unwrap();
        world.assert_nothing_left(&spec, &record);
    }
}

#[test]
fn a_thread_that_waits_in_vfork_does_not_prevent_a_pause() {
    // The shell's own children come from fork; python's subprocess and many others use vfork. Spawning without end is
    // the surest way to be caught in it.
    let Some(python) = ["/usr/bin/python3"].into_iter().find(|path| Path::new(path).exists()) else {
        println!("SKIPPED: no python3");
        return;
    };
    for way in WAYS {
        let world = World::new();
        let mut spec = world.spec(16, way, "");
        let program = "import subprocess, threading\n\
                       def run():\n while True: subprocess.run(['/bin/true'])\n\
                       for _ in range(3): threading.Thread(target=run).start()\n";
        spec.command = vec![python.to_owned(), "-c".to_owned(), program.to_owned()];
        let Some(created) = world.start(&spec) else { continue };
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(7));
            world.local.pause(id(16)).unwrap();
            let processes = marked(spec.uuid);
            assert!(Stat::read(created.init.pid).is_some());
            std::thread::sleep(Duration::from_millis(10));
            assert_eq!(marked(spec.uuid), processes, "{way:?}");
            world.local.unpause(id(16)).unwrap();
        }
        assert!(fs::read(spec.directory.join("console.log")).unwrap().is_empty());
    }
}

#[test]
fn a_qube_can_be_paused_in_the_rush_of_its_start() {
    // Of the v1 freezer, which misses processes forked in the moment of a freezing, and of all others.
    for way in WAYS {
        for round in 0..10 {
            let world = World::new();
            let spec = world.spec(17, way, FORKER);
            let Some(_created) = world.start(&spec) else { break };
            std::thread::sleep(Duration::from_millis(round));
            world.local.pause(id(17)).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        }
    }
}
