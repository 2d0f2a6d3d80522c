//! New qubes, and names that were in use before.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use admin::ErrorClass;
use common::{Site, qube};
use std::fs;
use std::thread;

#[test]
fn whoever_takes_the_name_of_a_qube_just_removed_has_a_directory_of_its_own() {
    let site = Site::new();
    let home = site.layout.private("twin");
    let twin = || {
        let admin = site.admin();
        for _ in 0..100 {
            while admin.call("admin.vm.Create.AppVM", "", "dom0", b"name=twin label=red").is_err() {}
            // Who has made it removes it: until then it is nobody else's.
            let was_empty = fs::read_dir(&home).is_ok_and(|mut entries| entries.next().is_none());
            let stayed = fs::write(home.join("mine"), "").is_ok() && home.join("mine").exists();
            admin.call("admin.vm.Remove", "", "twin", b"").unwrap();
            assert!(was_empty && stayed, "its home was empty: {was_empty}, and stayed: {stayed}");
        }
    };
    thread::scope(|scope| {
        (0..3).map(|_| scope.spawn(twin)).for_each(drop);
    });
}

#[test]
fn a_new_qube_does_not_get_what_an_earlier_one_has_left() {
    let site = Site::new();
    let left = site.layout.private("twin").join("secret");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::write(&left, "kept").unwrap();
    let create = || site.admin().call("admin.vm.Create.AppVM", "", "dom0", b"name=twin label=red");
    let refused = create().unwrap_err().to_string();
    let directory = site.layout.qube("twin");
    assert!(refused.contains(&format!("has left {}: move it away", directory.display())), "{refused}");
    assert_eq!(fs::read(&left).unwrap(), b"kept");
    assert_eq!(
        site.admin().qube(&qube("twin")).unwrap_err().class(),
        Some(&ErrorClass::QubesVMNotFoundError)
    );
    fs::rename(directory, site.layout.state().join("aside")).unwrap();
    create().unwrap();
}
