//! Random traffic through both drivers at once: what goes in comes out, in every direction, however it is cut.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data_parts;

use data_parts::{pattern, pipe};
use proptest::prelude::*;
use proptest::test_runner::Config;
use qrexec::data::{self, CallEnd, Options, Service};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use vchan::Vchan;

/// How one direction is used: how much, in which pieces, and with which pauses.
#[derive(Debug, Clone)]
struct Traffic {
    len: usize,
    pieces: Vec<usize>,
    reads: Vec<usize>,
    pause: bool,
}

fn traffic() -> impl Strategy<Value = Traffic> {
    let len = prop_oneof![Just(0usize), 1usize..100, 4000usize..70_000, 0usize..(3 << 20)];
    let piece = || prop_oneof![1usize..20, 100usize..5000, 60_000usize..140_000];
    let pieces = proptest::collection::vec(piece(), 1..6);
    let reads = proptest::collection::vec(piece(), 1..6);
    (len, pieces, reads, any::<bool>()).prop_map(|(len, pieces, reads, pause)| Traffic {
        len,
        pieces,
        reads,
        pause,
    })
}

impl Traffic {
    fn write(&self, mut to: impl Write + Send + 'static) -> JoinHandle<()> {
        let this = self.clone();
        thread::spawn(move || {
            let bytes = pattern(this.len);
            let (mut rest, mut pieces) = (&bytes[..], this.pieces.iter().cycle());
            let mut written = 0;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
                to.write_all(piece).unwrap();
                rest = after;
                // Tiny pieces of megabytes would take for ever.
                written += 1;
                if written > 2000 {
                    to.write_all(rest).unwrap();
                    break;
                }
                if this.pause && written % 50 == 1 {
                    thread::sleep(Duration::from_micros(200));
                }
            }
        })
    }

    fn read(&self, mut from: impl Read + Send + 'static) -> JoinHandle<bool> {
        let this = self.clone();
        thread::spawn(move || {
            let (mut got, mut reads) = (Vec::new(), this.reads.iter().cycle());
            let mut buffer = vec![0; 140_000];
            for count in 0.. {
                let size = if count > 2000 { 140_000 } else { *reads.next().unwrap() };
                match from.read(&mut buffer[..size]).unwrap() {
                    0 => break,
                    read => got.extend_from_slice(&buffer[..read]),
                }
                if this.pause && count % 50 == 1 {
                    thread::sleep(Duration::from_micros(200));
                }
            }
            got == pattern(this.len)
        })
    }
}

/// The two ends of a local stream: what the relay gets, and what the test keeps.
fn ends(socket: bool, relay_reads: bool) -> (OwnedFd, File) {
    if socket {
        let (relay, test) = UnixStream::pair().unwrap();
        return (relay.into(), OwnedFd::from(test).into());
    }
    let (reader, writer) = pipe();
    if relay_reads { (reader.into(), writer) } else { (writer.into(), reader) }
}

/// A process that ends, with this code, when its own input does; its streams are not those of the service.
fn process(code: u8) -> (std::process::Child, std::process::ChildStdin) {
    let script = format!("read line; exit {code}");
    let mut child = Command::new("/bin/sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

proptest! {
    #![proptest_config(Config { cases: 24, ..Config::default() })]

    #[test]
    fn everything_passes_in_all_directions_at_once(
        forth in traffic(), back in traffic(), errors in traffic(), code: u8, sockets: [bool; 4], filter: bool,
    ) {
        let (near, far) = Vchan::pair().unwrap();
        let (input, input_test) = ends(sockets[0], true);
        let (output, output_test) = ends(sockets[1], false);
        let (errors_out, errors_test) = ends(false, false);
        let (stdin, stdin_test) = ends(sockets[2], false);
        let (stdout, stdout_test) = ends(sockets[3], true);
        let (stderr, stderr_test) = ends(false, true);
        let (child, lifeline) = process(code);

        let writers = [forth.write(input_test), back.write(stdout_test), errors.write(stderr_test)];
        let readers = [forth.read(stdin_test), back.read(output_test), errors.read(errors_test)];
        let service = Service::Process { child, stdin, stdout, stderr: Some(stderr) };
        // The filter on the service's side would change its input; there it is not used.
        let serving = thread::spawn(move || data::serve(far, service, &Options::default()));
        let options = Options { filter_stdout: filter, ..Options::default() };
        let calling = thread::spawn(move || data::call(near, Some(input), output, errors_out.into(), &options));
        for writer in writers {
            writer.join().unwrap();
        }
        let [stdin_came, output_came, errors_came] = readers;
        prop_assert!(stdin_came.join().unwrap());
        drop(lifeline);
        let report = calling.join().unwrap().unwrap();
        prop_assert_eq!(report.end, CallEnd::Exit(code.into()));
        prop_assert_eq!((report.bytes_out, report.bytes_back), (forth.len as u64, (back.len + errors.len) as u64));
        prop_assert!(output_came.join().unwrap() || (filter && back.len > 0));
        prop_assert!(errors_came.join().unwrap());
        prop_assert_eq!(serving.join().unwrap().unwrap(), i32::from(code));
    }

    #[test]
    fn whoever_goes_away_in_the_middle_takes_the_call_along(
        forth in traffic(), back in traffic(), after in 0u64..3000, caller_goes: bool,
    ) {
        // A relay in a thread cannot be killed; an end of the vchan that is shut can.
        let (near, far) = Vchan::pair().unwrap();
        let killed = if caller_goes { near.try_clone() } else { far.try_clone() }.unwrap();
        let (input, input_test) = ends(false, true);
        let (output, output_test) = ends(false, false);
        let (errors_out, _errors_test) = ends(false, false);
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let service = Service::Process {
            stdin: child.stdin.take().unwrap().into(),
            stdout: child.stdout.take().unwrap().into(),
            stderr: None,
            child,
        };
        let serving = thread::spawn(move || data::serve(far, service, &Options::default()));
        let calling = thread::spawn(move || data::call(near, Some(input), output, errors_out.into(), &Options::default()));
        // No end of input: without the kill the call would go on for ever.
        let writer = thread::spawn(move || {
            let mut input = input_test;
            while input.write_all(&pattern(forth.len.max(1))).is_ok() {}
        });
        let reader = back.read(output_test);
        thread::sleep(Duration::from_micros(after));
        nix::sys::socket::shutdown(std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&killed)), nix::sys::socket::Shutdown::Both).unwrap();
        drop(killed);
        let ended = calling.join().unwrap();
        prop_assert!(ended.is_err() || ended.as_ref().unwrap().end == CallEnd::Lost, "{:?}", ended);
        prop_assert!(serving.join().unwrap().is_err());
        writer.join().unwrap();
        reader.join().unwrap();
    }
}
