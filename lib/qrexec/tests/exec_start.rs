//! Starting services: environment, arguments, streams, kinds, failures (spec/qrexec-exec.md 2 to 5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use qrexec::data::Service;
use qrexec::exec::{Command, ExecError, Place, SearchPath, Surroundings, start, start_detached};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use world::{executable, own_user, wait_until};

fn surroundings(place: Place, dir: &Path) -> Surroundings {
    Surroundings {
        place,
        services: SearchPath::parse(dir.as_os_str()),
        configs: SearchPath::parse(dir.join("config").as_os_str()),
        own_user: Some(own_user().into_bytes()),
    }
}

fn begin(place: Place, dir: &Path, text: &str) -> Result<Service, ExecError> {
    let surroundings = surroundings(place, dir);
    let command = match place {
        Place::Qube => Command::parse_vm(format!("{}:{text}", own_user()).as_bytes())?,
        Place::Dom0 => Command::parse_dom0(text.as_bytes())?,
    };
    start(&command, &command.config(&surroundings)?, &surroundings, None)
}

fn failure(place: Place, dir: &Path, text: &str) -> i32 {
    begin(place, dir, text).expect_err(text).exit_code()
}

/// Output, errors (if they are ours) and exit code of a started process that gets no input.
fn finish(service: Service) -> (String, Option<String>, i32) {
    let Service::Process { mut child, stdin, stdout, stderr } = service else { panic!("no process") };
    drop(stdin);
    let output = all(stdout);
    (output, stderr.map(all), child.wait().unwrap().code().unwrap())
}

fn all(fd: OwnedFd) -> String {
    let mut text = String::new();
    fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

const SHOW: &str = "#!/bin/sh
echo \"$0|$#|$1\"
env | grep -a ^QREXEC | LC_ALL=C sort
for fd in /proc/$$/fd/*; do readlink $fd; done | grep -c socket:
echo oops >&2
exit 7
";

#[test]
fn a_program_in_a_qube() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.B");
    executable(&path, SHOW);
    let (output, errors, code) = finish(begin(Place::Qube, dir.path(), "QUBESRPC a.B+x+y work").unwrap());
    let expected = format!(
        "{}|1|x+y\nQREXEC_AGENT_PID={}\nQREXEC_REMOTE_DOMAIN=work\nQREXEC_REQUESTED_TARGET_TYPE=\n\
         QREXEC_SERVICE_ARGUMENT=x+y\nQREXEC_SERVICE_FULL_NAME=a.B+x+y\n",
        path.display(),
        std::process::id()
    );
    // Descriptors 0 and 1 and no other end of the socket pairs.
    assert_eq!(output, format!("{expected}2\n"));
    assert_eq!((errors.as_deref(), code), (Some("oops\n"), 7));
}

#[test]
fn a_program_in_dom0() {
    let dir = tempfile::tempdir().unwrap();
    executable(&dir.path().join("a.B"), "#!/bin/sh\necho $#; env | grep -a ^QREXEC | LC_ALL=C sort\n");
    for (words, expected) in [
        (
            "a.B+ work keyword dispvm",
            "0\nQREXEC_REMOTE_DOMAIN=work\nQREXEC_REQUESTED_TARGET_KEYWORD=dispvm\nQREXEC_REQUESTED_TARGET_TYPE=keyword\nQREXEC_SERVICE_ARGUMENT=\nQREXEC_SERVICE_FULL_NAME=a.B+\n",
        ),
        (
            "a.B work name dom0",
            "0\nQREXEC_REMOTE_DOMAIN=work\nQREXEC_REQUESTED_TARGET=dom0\nQREXEC_REQUESTED_TARGET_TYPE=name\nQREXEC_SERVICE_FULL_NAME=a.B\n",
        ),
        (
            "a.B work other x",
            "0\nQREXEC_REMOTE_DOMAIN=work\nQREXEC_REQUESTED_TARGET_TYPE=other\nQREXEC_SERVICE_FULL_NAME=a.B\n",
        ),
    ] {
        let (output, errors, code) =
            finish(begin(Place::Dom0, dir.path(), &format!("QUBESRPC {words}")).unwrap());
        assert_eq!((output.as_str(), errors, code), (expected, None, 0));
    }
}

#[test]
fn streams_end_when_either_side_closes() {
    let dir = tempfile::tempdir().unwrap();
    executable(&dir.path().join("a"), "#!/bin/sh\nread line; echo got $line; exec >&-; cat >&2; exit 3\n");
    let service = begin(Place::Qube, dir.path(), "QUBESRPC a+ b").unwrap();
    let Service::Process { mut child, stdin, stdout, stderr } = service else { panic!() };
    let mut stdin = UnixStream::from(stdin);
    stdin.write_all(b"one\n").unwrap();
    assert_eq!(all(stdout), "got one\n", "the end of its output, while it runs on");
    stdin.write_all(b"two\n").unwrap();
    drop(stdin);
    assert_eq!(all(stderr.unwrap()), "two\n");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn legacy_commands() {
    let dir = tempfile::tempdir().unwrap();
    let service = begin(Place::Qube, dir.path(), "echo $0 legacy; exit 5").unwrap();
    assert_eq!(finish(service), ("sh legacy\n".into(), Some(String::new()), 5));
    assert_eq!(failure(Place::Dom0, dir.path(), "echo"), 125);
}

#[test]
fn failures() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("directory")).unwrap();
    fs::write(at("plain"), "#!/bin/sh\n").unwrap();
    executable(&at("no-interpreter"), "#!/nonexistent/sh\n");
    executable(&at("no-format"), "\u{1}\u{2}\u{3}\u{4}");
    executable(&at("good"), "#!/bin/sh\n");
    for (words, code) in [
        ("nothing+ s", 127),
        ("no-interpreter+ s", 127),
        ("directory+ s", 125),
        ("plain+ s", 125),
        ("no-format+ s", 125),
        ("good+ s t", 125),
        ("good+ s name t u", 125),
    ] {
        assert_eq!(failure(Place::Qube, dir.path(), &format!("QUBESRPC {words}")), code, "{words}");
    }
}

#[test]
fn another_user_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let surroundings = surroundings(Place::Qube, dir.path());
    executable(&dir.path().join("a"), "#!/bin/sh\n");
    fs::create_dir(dir.path().join("config")).unwrap();
    for user in ["", "DEFAULT", "somebody-else"] {
        let command = Command::parse_vm(format!("{user}:QUBESRPC a+ b").as_bytes()).unwrap();
        let error =
            start(&command, &command.config(&surroundings).unwrap(), &surroundings, None).unwrap_err();
        assert!(matches!(error, ExecError::OtherUser { .. }) && error.exit_code() == 125);
    }
    fs::write(dir.path().join("config/a"), "force-user='somebody-else'\n").unwrap();
    assert_eq!(failure(Place::Qube, dir.path(), "QUBESRPC a+ b"), 125);
    fs::write(dir.path().join("config/a"), format!("force-user='{}'\n", own_user())).unwrap();
    let command = Command::parse_vm(b"somebody-else:QUBESRPC a+ b").unwrap();
    let service = start(&command, &command.config(&surroundings).unwrap(), &surroundings, None).unwrap();
    assert_eq!(finish(service).2, 0);
}

#[test]
fn a_bad_configuration_fails_the_call() {
    let dir = tempfile::tempdir().unwrap();
    executable(&dir.path().join("a"), "#!/bin/sh\n");
    fs::create_dir(dir.path().join("config")).unwrap();
    fs::write(dir.path().join("config/a"), "wait-for-session=yes\n").unwrap();
    assert_eq!(failure(Place::Dom0, dir.path(), "QUBESRPC a+x b"), 125);
    fs::write(dir.path().join("config/a+x"), "wait-for-session=true\n").unwrap();
    let service = begin(Place::Dom0, dir.path(), "QUBESRPC a+x b").expect("that of the full descriptor wins");
    assert_eq!(finish(service).2, 0);
    fs::remove_file(dir.path().join("config/a+x")).unwrap();
    fs::create_dir(dir.path().join("config/a+x")).unwrap();
    assert_eq!(failure(Place::Dom0, dir.path(), "QUBESRPC a+x b"), 125);
}

fn descriptor(listener: &UnixListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    got
}

/// A child that another test starts at this moment holds a copy of every descriptor until its exec.
fn closed(listener: impl Sized, call: impl Fn() -> Result<Service, ExecError>) {
    drop(listener);
    wait_until("no copy of the listening socket is left", || call().is_err());
}

#[test]
fn a_socket_service_gets_its_descriptor_first() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(150));
    fs::create_dir_all(deep.join("config")).unwrap();
    let listener = os::socket::listen(&deep.join("a")).unwrap();
    let service = begin(Place::Dom0, &deep, "QUBESRPC a+x b name dom0").unwrap();
    let Service::Socket { stream, exit_on_client_eof: false, exit_on_service_eof: false } = service else {
        panic!("{service:?}")
    };
    drop(stream);
    assert_eq!(descriptor(&listener), b"a+x b name dom0\0");
    let text = "skip-service-descriptor=true\nexit-on-client-eof=true\n";
    fs::write(deep.join("config/a"), text).unwrap();
    let service = begin(Place::Qube, &deep, "QUBESRPC a+x b").unwrap();
    let Service::Socket { stream, exit_on_client_eof: true, .. } = service else { panic!("{service:?}") };
    drop(stream);
    assert_eq!(descriptor(&listener), b"");
    closed(listener, || begin(Place::Qube, &deep, "QUBESRPC a+x b"));
    assert_eq!(failure(Place::Qube, &deep, "QUBESRPC a+x b"), 125, "nobody listens");
}

#[test]
fn a_tcp_service() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    symlink("/dev/tcp/127.0.0.1", dir.path().join("a")).unwrap();
    let service = begin(Place::Qube, dir.path(), &format!("QUBESRPC a+{port} b")).unwrap();
    assert!(matches!(service, Service::Socket { .. }));
    drop(service);
    let mut got = String::new();
    listener.accept().unwrap().0.read_to_string(&mut got).unwrap();
    assert_eq!(got, format!("a+{port} b\0"));
    closed(listener, || begin(Place::Qube, dir.path(), &format!("QUBESRPC a+{port} b")));
    assert_eq!(failure(Place::Qube, dir.path(), &format!("QUBESRPC a+{port} b")), 125);
    assert_eq!(failure(Place::Qube, dir.path(), "QUBESRPC a+ b"), 125);
}

#[test]
fn a_detached_service_has_no_streams() {
    let dir = tempfile::tempdir().unwrap();
    let result = dir.path().join("result");
    executable(
        &dir.path().join("a"),
        &format!(
            "#!/bin/sh\nreadlink /proc/self/fd/0 /proc/self/fd/1 > {0}.new; mv {0}.new {0}\n",
            result.display()
        ),
    );
    let surroundings = surroundings(Place::Qube, dir.path());
    let text = format!("{}:QUBESRPC a+ b", own_user());
    let command = Command::parse_vm(text.as_bytes()).unwrap();
    let detached = start_detached(&command, &command.config(&surroundings).unwrap(), &surroundings).unwrap();
    assert!(detached.child.unwrap().wait().unwrap().success());
    wait_until("the service has written", || result.exists());
    assert!(fs::read_to_string(&result).unwrap().starts_with("/dev/null\n"));
    fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = start_detached(&command, &command.config(&surroundings).unwrap(), &surroundings).unwrap_err();
    assert_eq!(error.exit_code(), 125);
}
