//! Creation, the list of domains, ends of all kinds.

use crate::world::{WAYS, World, eventually, id, marked, supervisor};
use hypervisor::local::{Isolation, Pausing};
use hypervisor::{Hypervisor, HypervisorError};
use std::fs;

const AUTO: (Isolation, Pausing) = (Isolation::Auto, Pausing::Auto);

#[test]
fn create_info_destroy_in_every_way() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(7, way, "sleep 1000 & sleep 1000");
        let Some(mut created) = world.start(&spec) else { continue };
        assert_eq!((created.isolation, created.pausing), way);
        assert_eq!(world.local.list(), [id(7)]);
        let info = world.local.info(id(7)).unwrap().unwrap();
        assert_eq!((info.domid, info.uuid, &info.name), (id(7), spec.uuid, &spec.name));
        assert!(!info.paused && !info.dying);
        eventually("all run", || marked(spec.uuid).len() >= 3);
        let record = world.record(id(7));

        world.local.destroy(id(7)).unwrap();
        world.assert_nothing_left(&spec, &record);
        created.supervisor.wait().unwrap();
        assert!(matches!(world.local.destroy(id(7)), Err(HypervisorError::NoSuchDomain(_))));
    }
}

#[test]
fn a_qube_ends_with_its_command_and_takes_all_with_it() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(8, way, "(sleep 1000 &) ; setsid sleep 1000 & sleep 0.1; exit 7");
        let Some(mut created) = world.start(&spec) else { continue };
        let record = world.record(id(8));
        assert_eq!(created.supervisor.wait().unwrap().code(), Some(7), "{way:?}");
        world.assert_nothing_left(&spec, &record);
    }
}

#[test]
fn a_qube_ends_when_its_lifeline_is_dropped() {
    for way in WAYS {
        let world = World::new();
        let spec = world.spec(9, way, "(setsid sleep 1000 &) ; sleep 1000");
        let Some(mut created) = world.start(&spec) else { continue };
        let record = world.record(id(9));
        drop(created.supervisor.stdin.take());
        created.supervisor.wait().unwrap();
        world.assert_nothing_left(&spec, &record);
    }
}

#[test]
fn a_number_in_use_is_refused_and_the_living_stays() {
    let world = World::new();
    let spec = world.spec(5, AUTO, "sleep 1000");
    let _created = world.start(&spec).unwrap();
    let other = world.spec(5, AUTO, "sleep 1000");
    assert!(matches!(
        world.local.create(&other, &supervisor()),
        Err(HypervisorError::AlreadyExists(domid)) if domid == id(5)
    ));
    assert_eq!(world.local.info(id(5)).unwrap().unwrap().uuid, spec.uuid);
}

#[test]
fn a_qube_that_cannot_start_says_why_and_leaves_nothing() {
    for isolation in [Isolation::Auto, Isolation::Processes] {
        let world = World::new();
        let mut spec = world.spec(6, (isolation, Pausing::Auto), "");
        spec.command = vec!["/no/such/program".to_owned()];
        let error = world.local.create(&spec, &supervisor()).unwrap_err();
        assert!(matches!(error, HypervisorError::Setup(..)), "{error}");
        assert!(error.to_string().contains("/no/such/program"), "{error}");
        world.assert_nothing_left(&spec, "cgroup=none");
    }
    let world = World::new();
    let spec = world.spec(6, AUTO, "");
    assert!(matches!(
        world.local.create(&spec, "/no/such/supervisor".as_ref()),
        Err(HypervisorError::Io { .. })
    ));
    assert!(matches!(world.local.create(&spec, "/bin/true".as_ref()), Err(HypervisorError::Setup(..))));
}

#[test]
fn two_registries_are_two_worlds() {
    let (one, two) = (World::new(), World::new());
    let (first, second) = (one.spec(3, AUTO, "sleep 1000"), two.spec(3, AUTO, "sleep 1000"));
    let _first = one.start(&first).unwrap();
    let _second = two.start(&second).unwrap();
    one.local.pause(id(3)).unwrap();
    assert!(one.local.info(id(3)).unwrap().unwrap().paused);
    assert!(!two.local.info(id(3)).unwrap().unwrap().paused);
    one.local.destroy(id(3)).unwrap();
    assert_eq!(two.local.info(id(3)).unwrap().unwrap().uuid, second.uuid);
}

#[test]
fn many_qubes_start_at_once() {
    let world = World::new();
    let specs: Vec<_> = (1..=12).map(|domid| world.spec(domid, AUTO, "sleep 1000")).collect();
    let created: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = specs.iter().map(|spec| scope.spawn(|| world.start(spec).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(world.local.list().len(), 12);
    drop(created);
    for spec in &specs {
        eventually("it is gone", || world.local.info(spec.domid).unwrap().is_none());
    }
}

#[test]
fn a_directory_of_two_hundred_characters_works() {
    for isolation in [Isolation::Auto, Isolation::Processes] {
        let world = World::new();
        let mut spec = world.spec(4, (isolation, Pausing::Auto), "echo here > $HOME/out");
        spec.directory =
            world.top.path().join("d".repeat(100)).join("e e\u{e9}".repeat(20)).join("f".repeat(30));
        fs::create_dir_all(&spec.directory).unwrap();
        assert!(spec.directory.as_os_str().len() > 200);
        let mut created = world.start(&spec).unwrap();
        assert_eq!(created.supervisor.wait().unwrap().code(), Some(0));
        assert_eq!(fs::read_to_string(spec.directory.join("private/out")).unwrap(), "here\n");
    }
}
