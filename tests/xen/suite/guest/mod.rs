//! A guest made by hand with `xl`.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A domain that does nothing; destroyed when dropped.
pub struct Guest {
    name: String,
}

impl Guest {
    pub fn create(name: &str) -> Self {
        Self::start(name, "/boot/guest.cpio")
    }

    /// A guest that runs this script, with these programs at the paths that they have here.
    pub fn running(name: &str, script: &str, programs: &[&str]) -> Self {
        let top = PathBuf::from(format!("/tmp/{name}.root"));
        let place = |path: &str, from: &[u8]| {
            let path = top.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, from).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        place("/sbin/qube-init", format!("#!/bin/sh\n{script}\nexec sleep 1000000\n").as_bytes());
        programs.iter().for_each(|program| place(program, &fs::read(program).unwrap()));
        let image = format!("/tmp/{name}.cpio");
        fs::copy("/boot/guest.cpio", &image).unwrap();
        let pack = format!("find . | cpio -o -H newc >> {image}");
        assert!(Command::new("sh").args(["-c", &pack]).current_dir(&top).status().unwrap().success());
        let guest = Self::start(name, &image);
        fs::remove_dir_all(&top).unwrap();
        fs::remove_file(&image).unwrap();
        guest
    }

    fn start(name: &str, image: &str) -> Self {
        let guest = Self { name: name.to_owned() };
        let file = format!("/tmp/{name}.cfg");
        fs::write(&file, config(name, 128, image)).unwrap();
        let begun = Instant::now();
        xl(&["create", "-q", &file]);
        println!("figure: xl create {name}: {} ms emulated", begun.elapsed().as_millis());
        guest
    }

    /// Tries to make a guest that cannot be; what `xl` says.
    pub fn refused(name: &str, mib: u32) -> String {
        let file = format!("/tmp/{name}.cfg");
        fs::write(&file, config(name, mib, "/boot/guest.cpio")).unwrap();
        let output = Command::new("xl").args(["create", "-q", &file]).output().unwrap();
        assert!(!output.status.success(), "{name} was made");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn domid(&self) -> String {
        xl(&["domid", &self.name]).trim().to_owned()
    }

    /// Whether Xen holds it paused.
    pub fn paused(&self) -> bool {
        let list = xl(&["list", &self.name]);
        let state = list.lines().nth(1).unwrap().split_whitespace().nth(4).unwrap().to_owned();
        state.contains('p')
    }

    /// Waits for a word on its console.
    pub fn says(&self, word: &str) {
        let log = format!("/var/log/xen/console/guest-{}.log", self.name);
        let begun = Instant::now();
        eventually(word, || fs::read(&log).is_ok_and(|b| String::from_utf8_lossy(&b).contains(word)));
        println!("figure: {} says {word:?} after {} ms emulated", self.name, begun.elapsed().as_millis());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        Command::new("xl").args(["destroy", &self.name]).status().ok();
    }
}

fn config(name: &str, mib: u32, image: &str) -> String {
    format!(
        "name = \"{name}\"\ntype = \"pv\"\nkernel = \"/boot/vmlinux\"\nramdisk = \"{image}\"\n\
         extra = \"console=hvc0 loglevel=4 mitigations=off rodata=off lsm= audit=0 cryptomgr.notests initcall_blacklist=load_system_certificate_list\"\nmemory = {mib}\nvcpus = 1\non_crash = \"preserve\"\n"
    )
}

/// What `xl` printed.
#[track_caller]
pub fn xl(words: &[&str]) -> String {
    let output = Command::new("xl").args(words).output().unwrap();
    assert!(output.status.success(), "xl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn xl_fails(words: &[&str]) -> bool {
    !Command::new("xl").args(words).output().unwrap().status.success()
}

/// Xenstore's entries that have the number of this domain in their path.
pub fn xenstore_of(domid: &str) -> Vec<String> {
    let output = Command::new("xenstore-ls").args(["-f", "/"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let path = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    text.lines().map(path).filter(|path| path.split('/').any(|part| part == domid)).collect()
}

/// Waits, much longer than it should take.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
