//! The data channel when somebody goes away or breaks the rules, with real sockets, pipes and processes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data_parts;

use data_parts::{call, frame, hello, pattern, pipe, serve, shell};
use nix::poll::{PollFd, PollFlags, poll};
use qrexec::data::{self, CallEnd, DataError, Options, Service};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::thread;
use vchan::Vchan;

#[test]
fn a_caller_that_vanishes_closes_the_services_input_at_once() {
    for script in ["cat >/dev/null", "cat", "sleep 0.05; cat; yes", "yes"] {
        let (mut vchan, served) = serve(shell(script));
        hello(&vchan);
        vchan.write_all(&[frame(0x190, &pattern(65536)), frame(0x190, &[0; 100])].concat()).unwrap();
        drop(vchan);
        assert!(matches!(served.join().unwrap(), Err(DataError::Lost { .. })), "{script}");
    }
}

#[test]
fn a_service_that_does_not_read_is_not_waited_for_to_read() {
    let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
    let lifeline = child.stdin.take();
    let (service_reader, stdin) = pipe();
    let (stdout, _service_writer) = pipe();
    let service = Service::Process { child, stdin: stdin.into(), stdout: stdout.into(), stderr: None };
    let (mut vchan, served) = serve(service);
    hello(&vchan);
    vchan.set_nonblocking(true).unwrap();
    while vchan.write(&frame(0x190, &pattern(4096))).is_ok() {}
    drop(vchan);
    // Its input is full and yet closed.
    let mut fds = [PollFd::new(service_reader.as_fd(), PollFlags::empty())];
    assert_eq!(poll(&mut fds, 10_000u16), Ok(1));
    assert!(fds[0].revents().unwrap().contains(PollFlags::POLLHUP));
    drop(lifeline);
    assert!(served.join().unwrap().is_err());
}

#[test]
fn a_service_side_that_vanishes_is_a_lost_call() {
    let (near, mut far) = Vchan::pair().unwrap();
    let peer = thread::spawn(move || {
        hello(&far);
        far.write_all(&frame(0x191, b"partial")).unwrap();
        far.write_all(&frame(0x191, b"cut")[..9]).unwrap();
    });
    let (report, output, _) = call(near, vec![], &Options::default());
    peer.join().unwrap();
    assert_eq!((report.end, report.end.code()), (CallEnd::Lost, 255));
    assert!(output.starts_with(b"partial"));
}

#[test]
fn everything_received_is_delivered_before_a_lost_call_ends() {
    let (near, mut far) = Vchan::pair().unwrap();
    let peer = thread::spawn(move || {
        hello(&far);
        for _ in 0..20 {
            far.write_all(&frame(0x191, &pattern(65536))).unwrap();
        }
        far.write_all(&frame(0x193, &9i32.to_ne_bytes())).unwrap();
    });
    // No end of output came, only the exit code and the end of the vchan.
    let (report, output, _) = call(near, pattern(3 << 20), &Options::default());
    peer.join().unwrap();
    assert_eq!((report.end, output.len()), (CallEnd::Exit(9), 20 * 65536));
}

#[test]
fn a_local_reader_that_goes_away_is_no_end_of_the_call() {
    let (vchan, served) = serve(shell("head -c 3000000 /dev/zero; exit 2"));
    let (output_reader, output) = pipe();
    let (_errors_reader, errors) = pipe();
    drop(output_reader);
    let report = data::call(vchan, None, output.into(), errors.into(), &Options::default()).unwrap();
    assert_eq!(report.end, CallEnd::Exit(2));
    served.join().unwrap().unwrap();
}

#[test]
fn a_local_reader_that_goes_away_is_an_end_when_asked_for() {
    let (vchan, served) = serve(shell("yes"));
    let (mut output_reader, output) = pipe();
    let (_errors_reader, errors) = pipe();
    let reader = thread::spawn(move || output_reader.read_exact(&mut [0; 100_000]).unwrap());
    let options = Options { end_with_output: true, ..Options::default() };
    let report = data::call(vchan, None, output.into(), errors.into(), &options).unwrap();
    assert_eq!(report.end, CallEnd::Lost);
    reader.join().unwrap();
    served.join().unwrap().unwrap_err();
}

#[test]
fn a_reader_of_errors_that_goes_away_changes_nothing() {
    let (vchan, served) = serve(shell("head -c 300000 /dev/zero >&2; echo done; exit 1"));
    let (mut output_reader, output) = pipe();
    let (errors_reader, errors) = pipe();
    drop(errors_reader);
    let report = data::call(vchan, None, output.into(), errors.into(), &Options::default()).unwrap();
    assert_eq!((report.end, report.bytes_back), (CallEnd::Exit(1), 300_005));
    let mut got = [0; 5];
    output_reader.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"done\n");
    served.join().unwrap().unwrap();
}

#[test]
fn an_exit_code_of_the_wrong_size_or_sign() {
    for (body, code) in
        [(&b""[..], 255), (b"\x03\0\0", 255), (b"\x03\0\0\0\0\0\0\0", 3), (&(-5i32).to_ne_bytes(), -5)]
    {
        let (near, mut far) = Vchan::pair().unwrap();
        let body = body.to_vec();
        let peer = thread::spawn(move || {
            hello(&far);
            far.write_all(&[frame(0x191, b""), frame(0x193, &body)].concat()).unwrap();
            if code < 0 {
                // Not believed until the vchan closes.
                assert_eq!(far.read(&mut [0; 8]).unwrap(), 8);
                return;
            }
            let mut rest = Vec::new();
            far.read_to_end(&mut rest).unwrap();
        });
        let (report, ..) = call(near, vec![], &Options::default());
        peer.join().unwrap();
        assert_eq!(report.end, CallEnd::Exit(code));
    }
}

#[test]
fn peers_that_break_the_rules_end_the_call_with_a_word() {
    let v = |version: u32| frame(0x300, &version.to_ne_bytes());
    for bad in [
        v(1),
        frame(0x200, b"12345678x"),
        [v(4), frame(0x999, b"")].concat(),
        [v(4), 0x190u32.to_ne_bytes().to_vec(), 65537u32.to_ne_bytes().to_vec()].concat(),
        [v(2), 0x190u32.to_ne_bytes().to_vec(), 4097u32.to_ne_bytes().to_vec()].concat(),
    ] {
        let (mut vchan, served) = serve(shell("cat"));
        vchan.write_all(&bad).unwrap();
        let error = served.join().unwrap().unwrap_err();
        assert!(matches!(error, DataError::Protocol(_)), "{bad:?}: {error}");
    }
}

#[test]
fn a_peer_that_closes_before_hello_is_lost() {
    let (near, far) = Vchan::pair().unwrap();
    drop(far);
    let (_reader, writer) = pipe();
    let errors = writer.try_clone().unwrap();
    let lost = data::call(near, None, writer.into(), errors.into(), &Options::default());
    assert!(matches!(lost, Err(DataError::Lost { .. })), "{lost:?}");
}
