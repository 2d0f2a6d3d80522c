//! Names, command lines and messages of the programs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Done, Place, QUBES_VM, SERVE, await_that};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

#[test]
fn spec_1_bad_command_lines_make_no_call() {
    let place = Place::new(SERVE);
    place.file("a", "x");
    let cases: [(&str, &[&str], i32, &str); 12] = [
        ("qvm-open-in-dvm", &[], 2, "no file or URL given"),
        ("qvm-open-in-dvm", &[""], 2, "an empty word"),
        ("qvm-open-in-dvm", &["-x", "a"], 2, "unknown option \"-x\""),
        ("qvm-open-in-vm", &[], 2, "no target qube given"),
        ("qvm-open-in-vm", &["work"], 2, "no file or URL given"),
        ("qvm-open-in-dvm", &["missing"], 1, "\"missing\": there is no such file"),
        ("qvm-open-in-dvm", &["."], 1, "is a directory"),
        ("qvm-open-in-dvm", &["/dev/null"], 1, "is a device, pipe or socket"),
        ("qvm-open-in-dvm", &["magnet://x"], 1, "only http, https and ftp are opened, not magnet"),
        ("qvm-open-in-dvm", &["mailto:someone"], 1, "not mailto"),
        ("qvm-open-in-dvm", &["https://"], 1, "nothing follows ://"),
        ("qvm-open-in-dvm", &["file://server/a"], 1, "another machine"),
    ];
    for (program, words, code, said) in cases {
        let done = Done::of(place.command(program, "").args(words).output().unwrap());
        let done = done.expect(code, &[said, program]);
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    }
    assert_eq!(place.calls(), "");
    let help = Done::of(place.command("qvm-open-in-vm", "").arg("--help").output().unwrap());
    help.expect(0, &["usage: qvm-open-in-vm [--view-only] [--] TARGET FILE_OR_URL"]);
}

#[test]
fn m43_an_unreadable_file_is_called_so() {
    let place = Place::new(SERVE);
    place.file("a", "x");
    if nix::unistd::getuid().is_root() {
        eprintln!("skipped: root may read every file");
        return;
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o0);
    fs::set_permissions(place.caller().join("a"), mode).unwrap();
    place.open("", "a").expect(1, &["\"a\": you have no permission to read it"]);
}

#[test]
fn the_target_is_passed_on() {
    let place = Place::new(r#"printf '%s\n' "$*" > "$LOG"; cat > /dev/null"#);
    place.file("a", "x");
    Done::of(place.command("qvm-open-in-vm", "").args(["$dispvm:fedora", "a"]).output().unwrap())
        .expect(0, &[]);
    assert_eq!(place.calls(), "-- @dispvm:fedora qubes.OpenInVM\n");
    Done::of(place.command("qvm-open-in-vm", "").args(["--", "work", "a"]).output().unwrap()).expect(0, &[]);
    assert_eq!(place.calls(), "-- work qubes.OpenInVM\n");
}

#[test]
fn s4_no_disposable_from_a_disposable_unasked() {
    let place = Place::new(SERVE);
    place.file("a", "x");
    let mut command = place.command("qvm-open-in-dvm", "");
    command.env("QREXEC_SERVICE_FULL_NAME", "qubes.OpenInVM+").arg("a");
    if !std::path::Path::new("/usr/bin/zenity").exists() && !std::path::Path::new("/usr/bin/kdialog").exists()
    {
        Done::of(command.output().unwrap()).expect(1, &["needs your consent"]);
        assert_eq!(place.calls(), "");
    }
}

#[test]
fn m46_services_close_what_they_inherit() {
    let place = Place::new(SERVE);
    let mut command = Command::new("/bin/sh");
    let script = format!(
        "exec 7</dev/null; exec \"$QUBES_VM\" qubes.VMExec {}",
        vm::vmexec::encode(&["ls", "/proc/self/fd"])
    );
    place.environment(command.args(["-c", &script]), "");
    assert_eq!(command.output().unwrap().stdout, b"0\n1\n2\n3\n");
}

#[test]
fn m43_a_missing_client_is_told() {
    let place = Place::new(SERVE);
    place.file("a", "x");
    let mut command = place.command("qvm-open-in-dvm", "");
    command.env("QREXEC_CLIENT_VM", place.path("nothing")).arg("a");
    Done::of(command.output().unwrap()).expect(1, &["cannot start", "nothing"]);
}

#[test]
fn the_client_is_found_beside_the_program() {
    let place = Place::new(SERVE);
    let file = place.file("a", "old");
    let bin = place.path("home");
    symlink(QUBES_VM, bin.join("qvm-open-in-dvm")).unwrap();
    fs::rename(place.client(), bin.join("qrexec-client-vm")).unwrap();
    let path = [bin.as_os_str(), &std::env::var_os("PATH").unwrap()].join(OsStr::new(":"));
    for called in [bin.join("qvm-open-in-dvm").as_os_str(), OsStr::new("qvm-open-in-dvm")] {
        let mut command = Command::new(bin.join("qvm-open-in-dvm"));
        place.environment(command.arg0(called), r#"sh -c 'printf x >> "$0"'"#);
        command.env_remove("QREXEC_CLIENT_VM").env("PATH", &path).arg("a");
        Done::of(command.output().unwrap()).expect(0, &["replaced"]);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "oldxx");
}

#[test]
fn urls_are_opened_as_they_are() {
    let place = Place::new(SERVE);
    let note = r#"sh -c 'echo noise; printf "%s\n" "$0" >> "$NOTE"'"#;
    for url in ["http://example.org/?q=(a+b[c&d=%20;'$x`y`", "ftp://x/a b", "https://ex\u{e4}mple.org"] {
        place.open(note, url).expect(0, &["opening a link"]);
        assert_eq!(place.await_note(), url);
        fs::remove_file(place.path("note")).unwrap();
    }
    place.open(note, "HTTPS://Example.org/A").expect(0, &[]);
    assert_eq!(place.await_note(), "https://Example.org/A");
    assert!(place.calls().lines().all(|call| call == "@dispvm qubes.OpenURL"));
    place
        .open("sh -c 'exit 9'", "http://x")
        .expect(9, &["http://x in @dispvm: the other qube reported exit code 9"]);
}

#[test]
fn m37_a_url_that_is_open_already_is_not_waited_for_by_who_opens_it_again() {
    let place = Place::new(SERVE);
    let stay = place.script("stay", "echo ready > \"$NOTE\"; while test -e \"$NOTE\"; do sleep 0.05; done");
    let url = OsStr::new("https://example.org/?again");
    let open = |with: &OsStr| {
        let mut command = place.command("qvm-open-in-dvm", with.to_str().unwrap());
        command.arg(url).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut first = open(stay.as_os_str());
    place.await_note();
    let mut again = open(OsStr::new("true"));
    await_that("the end of the second", || again.try_wait().unwrap().is_some_and(|status| status.success()));
    assert!(first.try_wait().unwrap().is_none(), "the application of the first is still there");
    fs::remove_file(place.path("note")).unwrap();
    assert!(first.wait().unwrap().success());
}

#[test]
fn s20_only_web_addresses_are_opened() {
    let place = Place::new(SERVE);
    let note = r#"sh -c 'printf "%s\n" "$0" >> "$NOTE"'"#;
    let long = [b"http://".to_vec(), vec![b'x'; 5000]].concat();
    let bad: [&[u8]; 9] = [
        b"",
        b"\n",
        b"file:///etc/passwd\n",
        b"javascript://x\n",
        b"-x\n",
        b"http://\n",
        b"http://a\x1b[31m\n",
        b"http://\xff\n",
        &long,
    ];
    for request in bad {
        Done::of(place.serve("qubes.OpenURL", note, request)).expect(1, &["Invalid URL"]);
    }
    assert!(!place.path("note").exists());
    Done::of(place.serve("qubes.OpenURL", note, b" \tHTTP://x \nhttp://second\n")).expect(0, &[]);
    assert_eq!(place.await_note(), "http://x");
}

#[test]
fn s10_requests_that_are_none_are_refused() {
    let place = Place::new(SERVE);
    let field = |name: &str| {
        let mut field = [0; 256];
        field[..name.len()].copy_from_slice(name.as_bytes());
        field
    };
    let cases: [(&[u8], &str); 6] = [
        (b"", "ended after 0 of the 256 bytes"),
        (&[b'a'; 255], "ended after 255 of the 256 bytes"),
        (&field(""), "is empty"),
        (&field(".."), "\"..\""),
        (&field("../x"), "holds a \"/\""),
        (&field("view-only-"), "is empty"),
    ];
    for (request, said) in cases {
        Done::of(place.serve("qubes.OpenInVM", "true", request)).expect(1, &[said]);
    }
    for remote in ["", "..", "a/b", "-x"] {
        let mut command = place.command("qubes.OpenInVM", "true");
        Done::of(command.env("QREXEC_REMOTE_DOMAIN", remote).output().unwrap())
            .expect(1, &["QREXEC_REMOTE_DOMAIN"]);
    }
    Done::of(place.command("qubes.OpenInVM", "true").output().unwrap()).expect(1, &["is not set"]);
    assert_eq!(place.left_behind(), [""; 0]);
}

#[test]
fn s6_vmexec_runs_words_without_a_shell() {
    let place = Place::new(SERVE);
    let words = ["printf", "<%s>", "a b", "", "$HOME;`x`", "\u{fc}-+\n"];
    let run = |argument: &str| place.command("qubes.VMExec", "").arg(argument).output().unwrap();
    let output = run(&vm::vmexec::encode(&words));
    assert_eq!(output.stdout, "<a b><><$HOME;`x`><\u{fc}-+\n>".as_bytes());
    assert_eq!(run(&vm::vmexec::encode(&["sh", "-c", "exit 42"])).status.code(), Some(42));
    Done::of(run("no-20such")).expect(127, &["cannot run no such"]);
    Done::of(run("a-2f")).expect(1, &["\"-\" is allowed only in"]);
    Done::of(run("")).expect(1, &["the command is empty"]);
    Done::of(place.command("qubes.VMExec", "").output().unwrap()).expect(1, &["exactly one argument"]);
}

#[test]
fn waiting_ends_at_once_without_systemd() {
    let place = Place::new(SERVE);
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        for service in ["qubes.WaitForRunningSystem", "qubes.WaitForSession"] {
            Done::of(place.command(service, "").output().unwrap()).expect(0, &[]);
        }
    }
    let done = Done::of(place.command("qubes.WaitForSession", "").arg("x").output().unwrap());
    done.expect(0, &["takes no argument"]);
}

#[test]
fn every_name_is_answered() {
    let place = Place::new(SERVE);
    for name in vm::PROGRAMS {
        let link = place.path(name);
        symlink(QUBES_VM, &link).unwrap();
        let output = Command::new(&link).env_clear().arg("--help").stdin(Stdio::null()).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("qubes-vm PROGRAM"), "{name}");
    }
    assert!(vm::SERVICES.iter().all(|(_, program)| vm::PROGRAMS.contains(program)));
    Done::of(Command::new(QUBES_VM).output().unwrap()).expect(2, &["usage: qubes-vm PROGRAM"]);
    Done::of(Command::new(QUBES_VM).arg("ls").output().unwrap()).expect(2, &["usage: qubes-vm PROGRAM"]);
}
