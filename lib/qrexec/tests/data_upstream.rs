//! The data channel against upstream's C programs over libvchan-socket. They are taken from the directory that
//! `UPSTREAM_QREXEC` names (qrexec-client-vm, qrexec-agent and qrexec-daemon, built with qubes-core-vchan-socket); without
//! it these tests say so and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod data_parts;

use data_parts::{call, hello, pattern, pipe, reader, shell};
use names::DomId;
use qrexec::client::{Client, ClientError};
use qrexec::data::{self, CallEnd, Options};
use qrexec::wire::{Channel, Decoder, Exec, Message};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use vchan::{Config, Server, Vchan};

const LONG: Option<Duration> = Some(Duration::from_secs(60));

fn upstream(program: &str) -> Option<PathBuf> {
    let found = std::env::var_os("UPSTREAM_QREXEC").map(|dir| Path::new(&dir).join(program));
    if found.is_none() {
        println!("not run: UPSTREAM_QREXEC names no directory with {program}");
    }
    found
}

fn domain(id: u32) -> DomId {
    DomId::try_from(id).unwrap()
}

/// qrexec-client-vm of domain 7 calls, our service side in domain 5 serves.
fn client_vm_calls(program: &Path, input: &[u8], script: &str) -> (Option<i32>, Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let agent = os::socket::listen(&dir.path().join("agent")).unwrap();
    let input_path = dir.path().join("input");
    std::fs::write(&input_path, input).unwrap();
    let mut client = Command::new(program)
        .args(["-a", dir.path().join("agent").to_str().unwrap(), "@dispvm", "test.Service"])
        .env("VCHAN_SOCKET_DIR", dir.path())
        .env("VCHAN_DOMAIN", "7")
        .stdin(File::open(&input_path).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = reader(std::os::fd::OwnedFd::from(client.stdout.take().unwrap()).into());
    let errors = reader(std::os::fd::OwnedFd::from(client.stderr.take().unwrap()).into());
    let (mut trigger, _) = agent.accept().unwrap();
    let mut decoder = Decoder::new(Channel::Trigger);
    let mut buffer = [0; 4096];
    while decoder.next().unwrap().is_none() {
        let count = trigger.read(&mut buffer).unwrap();
        decoder.push(&buffer[..count]);
    }
    trigger.write_all(&[5u32.to_ne_bytes(), 513u32.to_ne_bytes()].concat()).unwrap();
    let config = Config { dir: dir.path().to_owned(), own: domain(5) };
    let vchan = Vchan::connect(&config, domain(7), 513, LONG).unwrap();
    data::serve(vchan, shell(script), &Options::default()).unwrap();
    (client.wait().unwrap().code(), output.join().unwrap(), errors.join().unwrap())
}

#[test]
fn upstreams_caller_and_our_service_side() {
    let Some(program) = upstream("qrexec-client-vm") else { return };
    let input = pattern(3 << 20);
    let (code, output, errors) = client_vm_calls(&program, &input, "cat; echo warning >&2; exit 3");
    assert_eq!((code, &errors[..]), (Some(3), &b"warning\n"[..]));
    assert!(output == input);
}

#[test]
fn upstreams_caller_gets_the_exit_code_although_it_is_still_pumping() {
    let Some(program) = upstream("qrexec-client-vm") else { return };
    for _ in 0..30 {
        let script = "head -c 10 >/dev/null; head -c 300000 /dev/zero; exit 8";
        let (code, output, _) = client_vm_calls(&program, &pattern(3 << 20), script);
        assert_eq!((code, output.len()), (Some(8), 300_000));
    }
}

#[test]
fn our_caller_and_upstreams_service_side() {
    let Some(program) = upstream("qrexec-agent") else { return };
    let dir = tempfile::tempdir().unwrap();
    let _agent = agent_of_domain_5(&program, dir.path());
    let config = Config { dir: dir.path().to_owned(), own: DomId::DOM0 };
    let mut control = Vchan::connect(&config, domain(5), 512, LONG).unwrap();
    hello(&control);
    let input = pattern(3 << 20);
    for (port, script) in [(513, "cat; echo warning >&2; exit 3"), (514, "head -c 10 >/dev/null; exit 3")] {
        let server = Server::bind(&config, domain(5), port).unwrap();
        let text = format!("root:nogui:{script}");
        let request = Message::ExecCmdline(Exec::command(0, port.into(), text.as_bytes()));
        control.write_all(&request.to_bytes()).unwrap();
        let vchan = server.accept(LONG).unwrap();
        let (report, output, errors) = call(vchan, input.clone(), &Options::default());
        assert_eq!(report.end, CallEnd::Exit(3), "port {port}: {}", String::from_utf8_lossy(&errors));
        if port == 513 {
            assert!(output == input && errors.ends_with(b"warning\n"));
        }
    }
}

#[test]
fn our_client_and_upstreams_daemon_and_agent() {
    let (Some(agent), Some(daemon)) = (upstream("qrexec-agent"), upstream("qrexec-daemon")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let _agent = agent_of_domain_5(&agent, dir.path());
    let daemon = Command::new(daemon)
        .args(["-D", "-q", "-u", "12345678-1234-1234-1234-123456789abc", "--socket-dir"])
        .args([dir.path().to_str().unwrap(), "5", "work", "root"])
        .env("VCHAN_SOCKET_DIR", dir.path())
        .stderr(Stdio::null())
        .spawn();
    let _daemon = Killed(daemon.unwrap());
    let config = Config { dir: dir.path().to_owned(), own: DomId::DOM0 };
    let client = Client { socket_dir: dir.path().to_owned(), vchan: config };
    let started = Instant::now();
    while !dir.path().join("qrexec.work").exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "upstream's daemon did not start");
        thread::sleep(Duration::from_millis(5));
    }
    let input = pattern(300_000);
    for target in ["5", "work", "uuid:12345678-1234-1234-1234-123456789abc"] {
        // The daemon makes the names before it listens.
        let call = loop {
            match client.start(target, "DEFAULT:nogui:cat; exit 3") {
                Err(ClientError::NotRunning { .. }) => thread::sleep(Duration::from_millis(5)),
                other => break other.unwrap(),
            }
        };
        let (input_reader, mut input_writer) = pipe();
        let (output_reader, output) = pipe();
        let (_errors_reader, errors) = pipe();
        let output_reader = reader(output_reader);
        let bytes = input.clone();
        let writer = thread::spawn(move || input_writer.write_all(&bytes).unwrap());
        let connected = call.connect().unwrap();
        let options = Options::default();
        let report =
            connected.run(Some(input_reader.into()), output.into(), errors.into(), &options).unwrap();
        writer.join().unwrap();
        assert_eq!(report.end, CallEnd::Exit(3));
        assert!(output_reader.join().unwrap() == input);
    }
}

fn agent_of_domain_5(program: &Path, dir: &Path) -> Killed {
    let agent = Command::new(program)
        .args(["-S", "-a", dir.join("agent").to_str().unwrap()])
        .env("VCHAN_SOCKET_DIR", dir)
        .env("VCHAN_DOMAIN", "5")
        .stderr(Stdio::null())
        .spawn();
    Killed(agent.unwrap())
}

/// Ends with the test, whichever way that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
