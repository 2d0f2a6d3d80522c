//! What goes wrong between two qubes never costs the user a file (promise P12), and is always told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Done, Place, QUBES_VM, SERVE, await_that, is_alive};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

const TO_NEW: &str = r#"sh -c 'printf new > "$0"'"#;
const STAY: &str = r#"sh -c 'echo $$ > "$NOTE"; exec sleep 60'"#;

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn p9_refused_is_126() {
    let place = Place::new("exit 126\n");
    let file = place.file("a", "old");
    place.open("", &file).expect(126, &["refused: a may not be opened in @dispvm"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
}

#[test]
fn p9_exit_codes_of_the_call_are_passed_on() {
    for code in [1, 2, 3, 125, 127, 255] {
        let place = Place::new(&format!("cat > /dev/null; exit {code}\n"));
        let file = place.file("a", "old");
        place.open("", &file).expect(code, &["qvm-open-in-dvm: a in @dispvm: "]);
    }
}

#[test]
fn p12_a_broken_reply_is_kept_aside() {
    for (end, code) in [("exit 255", 255), ("exit 3", 3), ("kill -9 $$", 137)] {
        let place = Place::new(&format!("cat > /dev/null; printf ne; {end}\n"));
        let file = place.file("a", "old");
        place.open("", &file).expect(code, &["a.edited", "the edited copy (2 bytes)"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_to_string(place.caller().join("a.edited")).unwrap(), "ne");
        assert_eq!(place.names(), ["a", "a.edited"]);
    }
}

#[test]
fn p12_a_service_that_did_not_read_it_all_replaces_nothing() {
    let place = Place::new("head -c 300 > /dev/null; printf new\n");
    let file = place.file("a", common::noise(5 << 20));
    place.open("", &file).expect(1, &["did not read all of it", "a.edited"]);
    assert_eq!(fs::metadata(&file).unwrap().len(), 5 << 20);
}

#[test]
fn p12_a_file_that_cannot_be_read_to_its_end_is_not_opened_as_a_part() {
    let place = Place::new(SERVE);
    // The first page of a process is never mapped: a regular file that opens and then fails.
    let done = place.open(TO_NEW, "/proc/self/mem").expect(1, &["cannot read the file to its end"]);
    assert!(!done.stderr.contains("opening"), "{done:?}");
    assert_eq!(place.left_behind(), [""; 0]);
}

#[test]
fn m44_a_failing_application_is_visible_and_its_edit_kept() {
    for (end, code, said) in [
        ("exit 3", 3, "exit code 3"),
        ("exit 126", 1, "exit code 126"),
        ("kill -9 $$", 137, "ended by signal 9"),
    ] {
        let place = Place::new(SERVE);
        let file = place.file("a", "old");
        place.open(&format!("sh -c '{end}'"), &file).expect(code, &[said]);
        assert_eq!(place.names(), ["a"]);
        place.open(&format!(r#"sh -c 'printf new > "$0"; {end}'"#), &file).expect(code, &[said, "a.edited"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        assert_eq!(fs::read_to_string(place.caller().join("a.edited")).unwrap(), "new");
        assert_eq!(place.left_behind(), [""; 0]);
    }
}

#[test]
fn m43_a_missing_application_is_named_with_its_remedy() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    place
        .open("no-such-editor -x", &file)
        .expect(127, &["no-such-editor", "--with COMMAND", "QUBES_OPEN_WITH"]);
    place.open("'", &file).expect(1, &["QUBES_OPEN_WITH is no command line: the quote ' is not closed"]);
    let mut command = place.command("qvm-open-in-dvm", "");
    // First there is no xdg-open in PATH, then one that knows no program for this kind of file (xdg-open(1): exit code 3).
    let command = command.arg(&file);
    let mut open = |path| Done::of(command.env("PATH", path).output().unwrap());
    open(place.path("home")).expect(127, &["no xdg-open", "--with COMMAND"]);
    let path = place.script("xdg-open", "exit 3").with_file_name("");
    open(path).expect(3, &["xdg-open has no application here", "--with COMMAND"]);
    assert_eq!(place.left_behind(), [""; 0]);
}

#[test]
fn m37_a_removed_file_is_an_error() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    place.open("rm", &file).expect(1, &["a is gone: the application removed or renamed it"]);
    place.open(r#"sh -c 'rm "$0"; ln -s /etc/passwd "$0"'"#, &file).expect(1, &["no plain file any more"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn m35_an_original_that_changed_meanwhile_is_not_overwritten() {
    for (change, said, left) in [
        (r#"printf mine > "$ORIGINAL""#, "it was changed meanwhile", Some("mine")),
        (
            r#"printf mine > "$ORIGINAL.t"; mv "$ORIGINAL.t" "$ORIGINAL""#,
            "it was changed meanwhile",
            Some("mine"),
        ),
        (r#"rm "$ORIGINAL""#, "is gone", None),
    ] {
        let place = Place::new(SERVE);
        let file = place.file("a", "old!");
        let with = format!(r#"sh -c 'printf new > "$0"; {change}'"#);
        let mut command = place.command("qvm-open-in-dvm", &with);
        let done = Done::of(command.env("ORIGINAL", &file).arg(&file).output().unwrap());
        done.expect(1, &[said, "the edited copy (3 bytes) is", "a.edited"]);
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), left);
        assert_eq!(fs::read_to_string(place.caller().join("a.edited")).unwrap(), "new");
        place.file("a.edited", "earlier");
        place.file("a", "old!");
        let done = Done::of(command.env("ORIGINAL", &file).output().unwrap());
        done.expect(1, &["a.edited-2"]);
        assert_eq!(fs::read_to_string(place.caller().join("a.edited")).unwrap(), "earlier");
    }
}

#[test]
fn m36_a_directory_that_cannot_be_written_sends_the_edit_home() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.caller(), fs::Permissions::from_mode(0o555)).unwrap();
    for name in ["home", "service"] {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o777)).unwrap();
    }
    fs::write(place.path("log"), "").unwrap();
    fs::set_permissions(place.path("log"), fs::Permissions::from_mode(0o666)).unwrap();
    let program = place.path("qubes-vm");
    fixture::copy_executable(QUBES_VM.as_ref(), &program);
    let mut command = Command::new(&program);
    place.environment(command.arg("qvm-open-in-dvm"), TO_NEW);
    command.env("QUBES_VM", &program).arg(&file);
    if nix::unistd::getuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let home = place.path("home/a.edited");
    Done::of(command.output().unwrap())
        .expect(1, &["its directory cannot be written", &home.display().to_string()]);
    assert_eq!(fs::read_to_string(home).unwrap(), "new");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    fs::set_permissions(place.caller(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(place.names(), ["a"]);
}

/// A limit on file sizes acts like a disk that is full everywhere.
fn with_size_limit(blocks: u32, command: &str) -> String {
    format!("trap '' XFSZ; ulimit -S -f {blocks}; {command}\n")
}

#[test]
fn m42_a_full_disk_in_the_service_is_told_to_the_caller() {
    let place = Place::new(&with_size_limit(8, SERVE));
    let file = place.file("a", common::noise(1 << 20));
    place
        .open(TO_NEW, &file)
        .expect(1, &["no room: this qube's disks were full after", "could not be opened"]);
    assert_eq!(place.left_behind(), [""; 0]);
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn p12_a_full_disk_at_the_caller_keeps_what_had_room() {
    let place = Place::new(&format!("ulimit -S -f unlimited; {SERVE}"));
    let file = place.file("a", "old");
    let grow = r#"sh -c 'head -c 1000000 /dev/zero > "$0"'"#;
    let script = with_size_limit(8, r#"exec "$QUBES_VM" qvm-open-in-dvm a"#);
    let mut command = Command::new("/bin/sh");
    place.environment(command.args(["-c", &script]), grow);
    let done = Done::of(command.output().unwrap());
    let done = done.expect(1, &["cannot keep what comes back", "not replaced", "(4,096 bytes)"]);
    // The limit holds in every directory; which of them was the last to be tried, the message tells.
    let kept = done.stderr.lines().find_map(|line| line.split_once("bytes) is ")).unwrap().1;
    assert_eq!(fs::read(kept).unwrap(), vec![0; 4096]);
    fs::remove_file(kept).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn m42_an_edit_that_does_not_fit_beside_the_original_goes_home() {
    let place = Place::new(SERVE);
    let small = place.caller();
    let mounted = nix::mount::mount(
        None::<&str>,
        &small,
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=256k"),
    );
    if mounted.is_err() {
        eprintln!("skipped: this user may not mount a small file system");
        return;
    }
    let file = place.file("a", "old");
    let done = place.open(r#"sh -c 'head -c 3000000 /dev/zero > "$0"'"#, &file);
    let names = place.names();
    nix::mount::umount2(&small, nix::mount::MntFlags::MNT_DETACH).unwrap();
    done.expect(1, &["home/a.edited", "(3,000,000 bytes)"]);
    assert_eq!(fs::metadata(place.path("home/a.edited")).unwrap().size(), 3_000_000);
    assert_eq!(names, ["a"]);
}

#[test]
fn s10_a_reply_fills_no_disk_to_its_end() {
    let place = Place::new("cat > /dev/null; exec cat /dev/zero\n");
    let small = [place.caller(), place.path("home")];
    let mount = |path: &PathBuf| {
        nix::mount::mount(None::<&str>, path, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=20m"))
    };
    if small.iter().any(|path| mount(path).is_err()) {
        eprintln!("skipped: this user may not mount a small file system");
        return;
    }
    let file = place.file("a", "old");
    let mut command = place.command("qvm-open-in-dvm", "");
    // /tmp may have room for all of it: the limit is what ends the call there.
    let done = Done::of(command.env("QUBES_OPEN_MAX_REPLY", "60000000").arg(&file).output().unwrap());
    let free = nix::sys::statvfs::statvfs(&small[0]).unwrap();
    let free = free.blocks_available() * free.fragment_size();
    let old = fs::read_to_string(&file).unwrap();
    small.iter().for_each(|path| nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH).unwrap());
    let done = done.expect(1, &["cannot keep what comes back", "the edited copy"]);
    let kept = done.stderr.lines().find_map(|line| line.split_once("bytes) is ")).unwrap().1;
    // It may be on one of the small file systems, which are gone.
    drop(fs::remove_file(kept));
    assert!(free >= 1_000_000, "{free} bytes are free");
    assert_eq!(old, "old");
}

#[test]
fn s10_a_reply_without_end_is_cut() {
    let place = Place::new("cat > /dev/null; exec cat /dev/zero\n");
    let file = place.file("a", "old");
    let mut command = place.command("qvm-open-in-dvm", "");
    let done = Done::of(command.env("QUBES_OPEN_MAX_REPLY", "1000000").arg(&file).output().unwrap());
    done.expect(1, &["more than 1000000 bytes came back", "a.edited"]);
    assert!(fs::metadata(place.caller().join("a.edited")).unwrap().len() <= 1_000_000);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
}

#[test]
fn p5_a_signal_ends_the_call_and_leaves_nothing() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let place = Place::new(SERVE);
        let file = place.file("a", "old");
        let (mut child, application) = place.start(STAY, &file);
        assert_eq!(place.left_behind().len(), 1);
        kill(pid(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(!is_alive(&application));
        assert_eq!(place.left_behind(), [""; 0]);
        assert_eq!(place.names(), ["a"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    }
}

#[test]
fn p5_a_signal_in_the_middle_of_the_reply_leaves_nothing() {
    for (signal, code) in [(Signal::SIGTERM, Some(143)), (Signal::SIGKILL, None)] {
        let place = Place::new(r#"cat > /dev/null; printf part; echo sent > "$NOTE"; exec sleep 60"#);
        let file = place.file("a", "old");
        let (mut child, _) = place.start("", &file);
        let descriptors = PathBuf::from(format!("/proc/{}/fd", child.id()));
        let begin = place.caller();
        await_that("the first bytes", || {
            let open = fs::read_dir(&descriptors).unwrap().flatten();
            open.filter_map(|entry| fs::read_link(entry.path()).ok())
                .any(|path| path != file && path.starts_with(&begin))
        });
        kill(pid(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        // A killed one leaves a hidden file at most, where the file system knows no files without names.
        if code.is_some() || has_unnamed_files(&begin) {
            assert_eq!(place.names(), ["a"]);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    }
}

#[test]
fn p5_killed_at_any_moment_the_opener_leaves_the_old_file_or_the_new_one() {
    let (old, new) = ("old".repeat(1000), "new".repeat(1000));
    let mut seen = [0, 0];
    for moment in 0..150 {
        let place = Place::new(r#"cat > /dev/null; cat "$NOTE.new""#);
        fs::write(place.path("note.new"), &new).unwrap();
        let file = place.file("a", &old);
        let mut command = place.command("qvm-open-in-dvm", "");
        let mut child = command.arg(&file).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(moment * 150));
        kill(pid(&child), Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        let left = fs::read_to_string(&file).unwrap();
        assert!(left == old || left == new, "moment {moment}: {} bytes", left.len());
        seen[usize::from(left == new)] += 1;
        let kept = place.caller().join("a.edited");
        if kept.exists() {
            let kept = fs::read_to_string(&kept).unwrap();
            // Between the exchange of the two and the end of what came out, it is the original that bears this name.
            let is_exchanged = left == new && kept == old;
            assert!(kept == new || is_exchanged, "moment {moment}: it has its name when it is whole");
        }
        let others = place.names().into_iter().filter(|name| name != "a" && name != "a.edited");
        if has_unnamed_files(&place.caller()) {
            assert_eq!(others.collect::<Vec<_>>(), [""; 0], "moment {moment}");
        }
    }
    eprintln!("old {}, new {}", seen[0], seen[1]);
}

fn has_unnamed_files(directory: &Path) -> bool {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).custom_flags(nix::libc::O_TMPFILE).open(directory).is_ok()
}

#[test]
fn p5_a_stubborn_client_is_ended_by_force() {
    let place = Place::new(r#"trap '' TERM; echo ready > "$NOTE"; for i in $(seq 600); do sleep 0.1; done"#);
    let file = place.file("a", "old");
    let (mut child, _) = place.start("", &file);
    kill(pid(&child), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn nohup_is_respected() {
    let place = Place::new(SERVE);
    place.file("a", "old");
    let with = r#"sh -c 'echo $$ > "$NOTE"; sleep 0.5; printf new > "$0"'"#;
    let mut command = Command::new("/bin/sh");
    place.environment(command.args(["-c", r#"trap '' HUP; exec "$QUBES_VM" qvm-open-in-dvm a"#]), with);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    place.await_note();
    kill(pid(&child), Signal::SIGHUP).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(place.caller().join("a")).unwrap(), "new");
}

#[test]
fn an_inherited_signal_mask_makes_nobody_deaf() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    let blocked: SigSet = [Signal::SIGCHLD, Signal::SIGTERM].into_iter().collect();
    blocked.thread_block().unwrap();
    // The time limit is for a broken program, which would wait for ever.
    let mut command = Command::new("timeout");
    place.environment(command.args(["-s", "KILL", "30", QUBES_VM, "qvm-open-in-dvm", "a"]), TO_NEW);
    let output = command.output().unwrap();
    blocked.thread_unblock().unwrap();
    Done::of(output).expect(0, &[]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn p5_a_killed_caller_closes_the_application() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    // A daemon of the application that left its process group is found as well.
    let with = r#"sh -c 'setsid -f sleep 61 < "$0"; echo $$ > "$NOTE"; exec sleep 60'"#;
    let (mut child, application) = place.start(with, &file);
    kill(pid(&child), Signal::SIGKILL).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    await_that("the end of the application", || !is_alive(&application));
    await_that("the end of the directory", || place.left_behind().is_empty());
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn p12_a_killed_service_changes_nothing() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    place.open(r#"sh -c 'printf new > "$0"; kill -9 $PPID'"#, &file).expect(137, &["ended by signal 9"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(place.names(), ["a"]);
}
