//! What the tests of the data channel share: pipes, services, calls.
#![allow(dead_code)]

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use qrexec::data::{self, CallReport, DataError, Options, Service};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use vchan::Vchan;

/// A pipe: reader, writer.
pub(crate) fn pipe() -> (File, File) {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
    (reader.into(), writer.into())
}

/// A service that is a shell script.
pub(crate) fn shell(script: &str) -> Service {
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Service::Process {
        stdin: child.stdin.take().unwrap().into(),
        stdout: child.stdout.take().unwrap().into(),
        stderr: Some(child.stderr.take().unwrap().into()),
        child,
    }
}

/// Serves in a thread; gives the caller's end of the vchan.
pub(crate) fn serve(service: Service) -> (Vchan, JoinHandle<Result<i32, DataError>>) {
    let (near, far) = Vchan::pair().unwrap();
    (near, thread::spawn(move || data::serve(far, service, &Options::default())))
}

/// Reads to the end in a thread.
pub(crate) fn reader(mut from: File) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Calls with this input; gives the report, the output and the errors.
pub(crate) fn call(vchan: Vchan, input: Vec<u8>, options: &Options) -> (CallReport, Vec<u8>, Vec<u8>) {
    let (input_reader, mut input_writer) = pipe();
    let (output_reader, output) = pipe();
    let (errors_reader, errors) = pipe();
    let writer = thread::spawn(move || match input_writer.write_all(&input) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe),
    });
    let (output_reader, errors_reader) = (reader(output_reader), reader(errors_reader));
    let report = data::call(vchan, Some(input_reader.into()), output.into(), errors.into(), options).unwrap();
    writer.join().unwrap();
    (report, output_reader.join().unwrap(), errors_reader.join().unwrap())
}

/// Bytes in which a lost, doubled or moved piece shows.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 31 + at / 256 * 7 + at / 65536) % 251).unwrap()).collect()
}

/// A message, written by hand.
pub(crate) fn frame(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).unwrap();
    [&kind.to_ne_bytes()[..], &len.to_ne_bytes()[..], body].concat()
}

/// Says HELLO by hand and hears the peer's.
pub(crate) fn hello(mut vchan: &Vchan) {
    vchan.write_all(&frame(0x300, &4u32.to_ne_bytes())).unwrap();
    vchan.read_exact(&mut [0; 12]).unwrap();
}
