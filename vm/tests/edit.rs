//! A file goes to another qube, is worked on there, and comes back: real processes, the two ends joined by a script.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Place, SERVE, noise};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const APPEND: &str = r#"sh -c 'printf x >> "$0"'"#;

#[test]
fn p12_the_example_of_the_readme() {
    let place = Place::new(SERVE);
    let file = place.file("report.txt", "a draft\n");
    let done = place.open("sed -i s/draft/final/", "report.txt");
    let done = done.expect(
        0,
        &[
            "opening report.txt with sed -i s/draft/final/",
            "application ended with exit code 0",
            "sent 8 bytes\n",
            "got 8 bytes back, report.txt replaced\n",
        ],
    );
    assert_eq!(done.stderr.lines().count(), 4, "{done:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "a final\n");
    assert_eq!(place.calls(), "@dispvm qubes.OpenInVM\n");
    assert_eq!(place.names(), ["report.txt"]);
    assert_eq!(place.left_behind(), [""; 0]);
}

#[test]
fn m31_all_sizes_come_back_whole() {
    for size in [0, 1, 255, 256, 65_536, 7 << 20] {
        let place = Place::new(SERVE);
        let content = noise(size);
        let file = place.file("data", &content);
        place.open(APPEND, &file).expect(0, &[]);
        let back = fs::read(&file).unwrap();
        assert!(back.len() == size + 1 && back.starts_with(&content) && back.ends_with(b"x"), "{size}");
        assert_eq!(place.names(), ["data"]);
        assert_eq!(place.left_behind(), [""; 0]);
    }
}

#[test]
#[ignore = "writes 1 GiB"]
fn m42_300_mib_are_streamed() {
    let place = Place::new(SERVE);
    let content = noise(300 << 20);
    let file = place.file("data", &content);
    place.open(APPEND, &file).expect(0, &[]);
    let back = fs::read(&file).unwrap();
    assert!(back.len() == content.len() + 1 && back.starts_with(&content));
}

#[test]
fn m41_names_arrive_in_plain_letters() {
    let long = format!("{}.txt", "n".repeat(251));
    let cases: [(&[u8], &str); 10] = [
        (b"a b.txt", "a_b.txt"),
        ("Gr\u{fc}\u{df}e.txt".as_bytes(), "Gr____e.txt"),
        (b"\xff\xfe.txt", "__.txt"),
        (b"-rf", "-rf"),
        (b"--view-only", "--view-only"),
        (b"two\nlines", "two_lines"),
        (b"a+b@c.txt", "a+b@c.txt"),
        (b"100%.c++", "100_.c++"),
        (b"view-only-x", "view_only-x"),
        (long.as_bytes(), &long),
    ];
    for (name, arrived) in cases {
        let place = Place::new(SERVE);
        let file = place.file(OsStr::from_bytes(name), "old");
        let with = r#"sh -c 'basename -- "$0" > "$NOTE"; printf new > "$0"'"#;
        let done = place.open_all(with, &[OsStr::new("--"), OsStr::from_bytes(name)]).expect(0, &[]);
        assert_eq!(place.await_note(), arrived);
        assert_eq!(fs::read_to_string(&file).unwrap(), "new", "{done:?}");
        assert_eq!(place.names().len(), 1, "{:?}", place.names());
    }
}

#[test]
fn s9_the_name_field_holds_the_name_and_nothing_else() {
    for (option, name, sent) in [
        ("--", "a b.txt", "a b.txt"),
        ("--view-only", "x", "view-only-x"),
        ("--", "view-only-x", "view_only-x"),
    ] {
        let place = Place::new(r#"cat > "$LOG""#);
        place.file(name, "content");
        place.open_all("", &[OsStr::new(option), OsStr::new(name)]).expect(0, &[]);
        let request = fs::read(place.path("log")).unwrap();
        let mut field = [0; 256];
        field[..sent.len()].copy_from_slice(sent.as_bytes());
        // The end of the field, behind the name, is for the word that means "emptied" (M33), or NUL.
        let (name, word) = request[..256].split_at(231);
        assert_eq!(name, &field[..231]);
        if option == "--view-only" {
            assert_eq!(word, [0; 25]);
        } else {
            assert!(word.starts_with(b"emptied=") && word[8..24].iter().all(u8::is_ascii_hexdigit));
            assert_eq!(word[24], 0);
        }
        assert_eq!(&request[256..], b"content");
    }
}

#[test]
fn m31_an_unchanged_file_is_left_alone() {
    for with in ["cat", "touch", r#"sh -c 'cp "$0" "$0.new"; mv "$0.new" "$0"'"#] {
        let place = Place::new(SERVE);
        let file = place.file("a", "text");
        let before = fs::metadata(&file).unwrap();
        place.open(with, &file).expect(0, &["unchanged\n"]);
        let after = fs::metadata(&file).unwrap();
        let marks = |data: &fs::Metadata| (data.ino(), data.mtime_nsec(), data.ctime_nsec(), data.size());
        assert_eq!(marks(&before), marks(&after), "{with}");
        assert_eq!(place.names(), ["a"]);
    }
}

#[test]
fn m31_a_save_at_once_and_a_save_by_renaming_count() {
    for with in [r#"sh -c 'printf new > "$0"'"#, r#"sh -c 'printf new > "$0.t"; mv "$0.t" "$0"'"#] {
        let place = Place::new(SERVE);
        let file = place.file("a", "old");
        place.open(with, &file).expect(0, &["replaced"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }
}

#[test]
fn p12_mode_and_symlink_are_kept() {
    let place = Place::new(SERVE);
    let real = place.file("real.txt", "old");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o664)).unwrap();
    let link = place.path("home/link.txt");
    symlink(&real, &link).unwrap();
    let with = r#"sh -c 'basename -- "$0" > "$NOTE"; printf new > "$0"'"#;
    place.open(with, &link).expect(0, &["link.txt replaced"]);
    assert_eq!(place.await_note(), "link.txt");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o664);
    assert_eq!(place.names(), ["real.txt"]);
}

#[test]
fn m45_view_only_shows_and_drops() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    let with = r#"sh -c 'stat -c %a "$0" > "$NOTE"; rm -f "$0"; printf new > "$0"'"#;
    place.open_all(with, &["--view-only".as_ref(), "a".as_ref()]).expect(0, &["view only: a is untouched"]);
    assert_eq!(place.await_note(), "400");
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(place.names(), ["a"]);
    let mut request = [0; 260];
    request[..11].copy_from_slice(b"view-only-a");
    let output = place.serve("qubes.OpenInVM", with, &request);
    assert!(output.stdout.is_empty() && output.status.success(), "nothing comes back at all: {output:?}");
}

#[test]
fn m33_an_emptied_file_is_a_change() {
    for with in ["truncate -s 0", r#"sh -c ': > "$0.t"; mv "$0.t" "$0"'"#] {
        let place = Place::new(SERVE);
        let file = place.file("a", "old");
        place.open(with, &file).expect(0, &["came back empty, a replaced"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
        assert_eq!(place.names(), ["a"]);
    }
    // A failing application has the last word, as with any other change.
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    place.open(r#"sh -c ': > "$0"; exit 3'"#, &file).expect(3, &["a.edited", "(0 bytes)"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(fs::read_to_string(place.caller().join("a.edited")).unwrap(), "");
}

#[test]
fn m33_public_peers_are_neither_confused_nor_misread() {
    // A public caller fills the name field with NUL: an emptied file is nothing that it could be told.
    let place = Place::new(SERVE);
    let mut request = [0; 260];
    request[0] = b'a';
    request[256..].copy_from_slice(b"text");
    let output = place.serve("qubes.OpenInVM", "truncate -s 0", &request);
    assert!(output.stdout.is_empty() && output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the original keeps its content"));
    // A public service reads the name up to its NUL and sends content or nothing.
    let public = r#"name=$(head -c 256 | tr '\0' '\n' | head -n 1); [ "$name" = a ] || exit 9; "#;
    for (reply, left, said) in [("cat > /dev/null", "old", "unchanged"), ("tr o n", "nld", "replaced")] {
        let place = Place::new(&format!("{public}{reply}"));
        let file = place.file("a", "old");
        place.open("", &file).expect(0, &[said]);
        assert_eq!(fs::read_to_string(&file).unwrap(), left);
    }
}

#[test]
fn m48_output_of_the_application_is_no_content() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    place.open(r#"sh -c 'echo noise; printf new > "$0"; echo noise'"#, &file).expect(0, &[]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn m46_the_application_inherits_three_descriptors() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    place.open(r#"sh -c 'ls /proc/self/fd | tr "\n" " " > "$NOTE"; echo >> "$NOTE"'"#, &file).expect(0, &[]);
    // 3 is the directory that ls itself reads.
    assert_eq!(place.await_note(), "0 1 2 3");
}

#[test]
fn m37_an_application_that_forks_is_waited_for() {
    let background = r#"sh -c '("$HOME/later"; printf new > "$0") & exit 0'"#;
    let open_file = r#"sh -c 'cd /; (exec "$HOME/later" < "$0"; ) & f="$0"; exec true'"#;
    for (with, result) in [(background, "new"), (open_file, "old")] {
        for name in ["c++.txt", "a+b@c.pdf"] {
            let place = Place::with_later();
            let file = place.file(name, "old");
            place.open(with, &file).expect(0, &[]);
            place.expect_said("waiting until");
            assert_eq!(fs::read_to_string(&file).unwrap(), result);
            assert_eq!(place.left_behind(), [""; 0]);
        }
    }
}

#[test]
fn m37_a_descendant_that_neither_names_nor_holds_the_file_is_waited_for() {
    let place = Place::with_later();
    let file = place.file("a", "old");
    let work = place.script("work", r#""$HOME/later"; printf new > "$LATE_FILE""#);
    let start = place.script("start", &format!(r#"LATE_FILE="$1" {} & exit 0"#, work.display()));
    place.open(start.to_str().unwrap(), &file).expect(0, &["replaced"]);
    place.expect_said("waiting until a is closed");
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    // A daemon that went its own way and has nothing to do with the file is not waited for.
    let daemon = place.script(
        "start",
        r#"setsid -f sh -c 'echo $$ > "$NOTE"; exec sleep 60' < /dev/null > /dev/null 2>&1"#,
    );
    place.open(daemon.to_str().unwrap(), &file).expect(0, &["unchanged"]);
    let daemon = place.await_note();
    assert!(common::is_alive(&daemon));
    std::process::Command::new("kill").arg(daemon).status().unwrap();
}

/// The application is there already, belongs to nobody here, and is only asked to open one file more.
#[test]
fn m38_a_running_application_holds_the_call_until_it_closes_the_file() {
    let place = Place::with_later();
    let file = place.file("a", "old");
    let wish = place.path("wish");
    nix::unistd::mkfifo(&wish, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let server = format!(
        r#"read -r file < {0}; exec 5<> "$file"; echo > {0}; {1}; printf new >&5"#,
        wish.display(),
        place.path("home/later").display()
    );
    let server = place.script("server", &server);
    let mut server = std::process::Command::new(server).env("LOG", place.path("log")).spawn().unwrap();
    let ask = place.script("ask", &format!(r#"echo "$1" > {0}; read -r answer < {0}"#, wish.display()));
    place.open(ask.to_str().unwrap(), &file).expect(0, &["replaced"]);
    place.expect_said("waiting until a is closed");
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    assert!(server.wait().unwrap().success());
    assert_eq!(place.left_behind(), [""; 0]);
}

#[test]
fn m39_the_same_name_twice_at_once_and_again_are_different_files() {
    let place = Place::new(SERVE);
    fs::create_dir(place.caller().join("other")).unwrap();
    let files = [place.file("a", "one"), place.file("other/a", "two"), place.file("a", "one")];
    let words = files.each_ref().map(|file| file.as_os_str());
    let with = r#"sh -c 'sleep 0.2; printf + >> "$0"; echo "$0" >> "$NOTE"'"#;
    place.open_all(with, &words[..2]).expect(0, &["2 edited"]);
    place.open_all(with, &words[2..]).expect(0, &[]);
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), "one++");
    assert_eq!(fs::read_to_string(&files[1]).unwrap(), "two+");
    let notes = fs::read_to_string(place.path("note")).unwrap();
    let directories: std::collections::BTreeSet<&str> = notes.lines().collect();
    assert_eq!(directories.len(), 3, "{notes}");
    assert_eq!(place.left_behind(), [""; 0]);
}

#[test]
fn m40_a_file_that_is_called_view_only_is_edited_by_us_and_protected_by_public_callers() {
    let place = Place::new(SERVE);
    let file = place.file("view-only-x.txt", "old");
    place.open(r#"sh -c 'printf new > "$0"'"#, &file).expect(0, &["view-only-x.txt replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    // The public protocol cannot tell the name from the flag: it is shown, under the rest of its name.
    let mut request = [0; 260];
    request[..15].copy_from_slice(b"view-only-x.txt");
    let with = r#"sh -c 'basename "$0" > "$NOTE"; stat -c %a "$0" >> "$NOTE"'"#;
    assert!(place.serve("qubes.OpenInVM", with, &request).status.success());
    assert_eq!(place.await_note(), "x.txt\n400");
}

#[test]
fn m34_mode_symlink_and_attributes_stay() {
    let place = Place::new(SERVE);
    let real = place.file("real", "old");
    let link = place.path("home/link");
    symlink(&real, &link).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o604)).unwrap();
    let set =
        |name: &str, value: &[u8]| rustix::fs::setxattr(&real, name, value, rustix::fs::XattrFlags::empty());
    let has_attributes = set("user.note", b"mine").is_ok();
    place.open(r#"sh -c 'printf new > "$0.t"; mv "$0.t" "$0"'"#, &link).expect(0, &["replaced"]);
    assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o604);
    let mut value = [0; 8];
    if has_attributes {
        assert_eq!(rustix::fs::getxattr(&real, "user.note", &mut value[..]), Ok(4));
    } else {
        eprintln!("SKIPPED: this file system has no attributes of users");
    }
}

#[test]
fn m37_a_late_comer_is_waited_for() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    // The starter ends at once; what it started names the file only a little later.
    let work = place.script("work", r#"sleep 0.3; printf new > "$1""#);
    let late = place.script("late", &format!(r#"sleep 0.1; exec {} "$LATE_FILE""#, work.display()));
    let start = place.script("start", &format!(r#"LATE_FILE="$1" exec setsid -f {}"#, late.display()));
    let mut command = place.command("qvm-open-in-dvm", start.to_str().unwrap());
    let done = common::Done::of(command.env("QUBES_OPEN_GRACE", "10000").arg(&file).output().unwrap());
    done.expect(0, &["replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn l4_file_urls_are_opened_as_files() {
    let place = Place::new(SERVE);
    let file = place.file("a b%.txt", "old");
    let url = format!("FILE://localhost{}", file.to_str().unwrap().replace('%', "%25").replace(' ', "%20"));
    place.open(APPEND, &url).expect(0, &["a b%.txt replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "oldx");
}

#[test]
fn m34_other_names_of_the_file_keep_the_old_content_and_that_is_said() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    let (other, third) = (place.caller().join("b"), place.path("home/c"));
    fs::hard_link(&file, &other).unwrap();
    let said = "another name (a hard link) that keeps the old content; to renew it: ln -f ";
    place.open(APPEND, &file).expect(0, &[said, "a replaced"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "oldx");
    assert_eq!(fs::read_to_string(&other).unwrap(), "old", "a backup made of hard links keeps what it has");
    fs::hard_link(&file, &third).unwrap();
    fs::hard_link(&file, place.caller().join("d")).unwrap();
    place.open(APPEND, &file).expect(0, &["2 other names (hard links) that keep the old content"]);
    let done = place.open(APPEND, &file).expect(0, &[]);
    assert!(!done.stderr.contains("hard link"), "{done:?}");
}

#[test]
fn m35_an_original_that_somebody_has_open_for_writing_is_not_replaced() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    let output = fs::OpenOptions::new().append(true).open(&file).unwrap();
    let mut writer = std::process::Command::new("sleep").arg("60").stdout(output).spawn().unwrap();
    place
        .open(APPEND, &file)
        .expect(1, &["was not replaced: sleep has it open and may write it", "a.edited"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(fs::read_to_string(place.caller().join("a.edited")).unwrap(), "oldx");
    writer.kill().unwrap();
    writer.wait().unwrap();
    place.open(APPEND, &file).expect(0, &["a replaced"]);
}
