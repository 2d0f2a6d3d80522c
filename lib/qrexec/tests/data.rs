//! The data channel with real sockets, pipes and processes: what passes, and how calls end in good order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod data_parts;

use data_parts::{call, frame, hello, pattern, pipe, reader, serve, shell};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use qrexec::data::{self, CallEnd, DataError, HelloOrder, Options, Service};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use vchan::Vchan;

#[test]
fn p9_streams_and_exit_code_pass_exactly() {
    let (vchan, served) = serve(shell("cat; echo warning >&2; exit 3"));
    let (report, output, errors) = call(vchan, b"draft\n".to_vec(), &Options::default());
    assert_eq!(
        (report.end, &output[..], &errors[..]),
        (CallEnd::Exit(3), &b"draft\n"[..], &b"warning\n"[..])
    );
    assert_eq!((report.bytes_out, report.bytes_back), (6, 14));
    assert!(report.first_out_ns.is_some() && report.first_back_ns.is_some());
    assert_eq!(served.join().unwrap().unwrap(), 3);
}

#[test]
fn three_mebibytes_pass_both_ways() {
    let (vchan, served) = serve(shell("cat"));
    let input = pattern((3 << 20) + 5);
    let (report, output, _) = call(vchan, input.clone(), &Options::default());
    assert!(output == input);
    let len = input.len() as u64;
    assert_eq!((report.end, report.bytes_out, report.bytes_back), (CallEnd::Exit(0), len, len));
    assert_eq!(served.join().unwrap().unwrap(), 0);
}

#[test]
fn three_mebibytes_pass_filtered() {
    let (vchan, served) = serve(shell("cat"));
    let input: Vec<u8> = pattern(3 << 20).iter().map(|byte| byte % 95 + 32).collect();
    let options = Options { filter_stdout: true, filter_stderr: true, ..Options::default() };
    let (report, output, _) = call(vchan, input.clone(), &options);
    assert!(output == input);
    assert_eq!(report.end, CallEnd::Exit(0));
    served.join().unwrap().unwrap();
}

#[test]
fn p7_filters_replace_escapes() {
    let (vchan, served) = serve(shell("printf 'a\\033[31mb'; printf 'c\\033d' >&2"));
    let options = Options { filter_stdout: true, filter_stderr: true, ..Options::default() };
    let (_, output, errors) = call(vchan, vec![], &options);
    assert_eq!((&output[..], &errors[..]), (&b"a_[31mb"[..], &b"c_d"[..]));
    served.join().unwrap().unwrap();
}

#[test]
fn hello_in_the_other_order() {
    let (near, far) = Vchan::pair().unwrap();
    let served = thread::spawn(move || {
        let options = Options { hello: HelloOrder::ReceiveFirst, ..Options::default() };
        data::serve(far, shell("cat; exit 7"), &options)
    });
    let options = Options { prefix: b"pre-".to_vec(), ..Options::default() };
    let (report, output, _) = call(near, b"x".to_vec(), &options);
    assert_eq!((report.end, &output[..]), (CallEnd::Exit(7), &b"pre-x"[..]));
    served.join().unwrap().unwrap();
}

#[test]
fn no_input_is_an_empty_input() {
    for prefix in [&b""[..], &b"only this\n"[..]] {
        let (vchan, served) = serve(shell("cat; echo done"));
        let (output_reader, output) = pipe();
        let (_errors_reader, errors) = pipe();
        let output_reader = reader(output_reader);
        let options = Options { prefix: prefix.to_vec(), ..Options::default() };
        let report = data::call(vchan, None, output.into(), errors.into(), &options).unwrap();
        assert_eq!(report.end, CallEnd::Exit(0));
        assert_eq!(output_reader.join().unwrap(), [prefix, b"done\n"].concat());
        served.join().unwrap().unwrap();
    }
}

#[test]
fn a_half_closed_call_stays_half_closed() {
    // The service ends its output first and only then counts its input.
    let (vchan, served) = serve(shell("exec >/dev/null 2>&1; test $(wc -c) = 100000 && exit 4"));
    let (report, output, _) = call(vchan, pattern(100_000), &Options::default());
    assert_eq!((report.end, output.len()), (CallEnd::Exit(4), 0));
    served.join().unwrap().unwrap();
}

#[test]
fn output_that_another_process_holds_keeps_the_call_alive() {
    let (vchan, served) = serve(shell("(sleep 0.3; echo late) & exit 5"));
    let (report, output, _) = call(vchan, vec![], &Options::default());
    assert_eq!((report.end, &output[..]), (CallEnd::Exit(5), &b"late\n"[..]));
    served.join().unwrap().unwrap();
}

#[test]
fn the_end_of_the_service_ends_a_caller_that_still_has_input() {
    let (vchan, served) = serve(shell("echo enough; exit 6"));
    let (input_reader, input_writer) = pipe();
    let (output_reader, output) = pipe();
    let (_errors_reader, errors) = pipe();
    let options = Options::default();
    let report =
        data::call(vchan, Some(input_reader.into()), output.into(), errors.into(), &options).unwrap();
    assert_eq!(report.end, CallEnd::Exit(6));
    assert_eq!(reader(output_reader).join().unwrap(), b"enough\n");
    served.join().unwrap().unwrap();
    drop(input_writer);
}

#[test]
fn the_exit_code_arrives_although_the_caller_is_still_pumping() {
    let (vchan, served) = serve(shell("head -c 10 >/dev/null; exit 8"));
    let (report, ..) = call(vchan, pattern(3 << 20), &Options::default());
    assert_eq!(report.end, CallEnd::Exit(8));
    assert_eq!(served.join().unwrap().unwrap(), 8);
}

#[test]
fn a_killed_service_is_128_and_the_signal() {
    let (vchan, served) = serve(shell("kill -9 $$"));
    let (report, ..) = call(vchan, vec![], &Options::default());
    assert_eq!(report.end, CallEnd::Exit(137));
    assert_eq!(served.join().unwrap().unwrap(), 137);
}

#[test]
fn p9_services_that_could_not_start() {
    for (service, code) in [
        (Service::Failed { code: 127, dom0: false }, 127),
        (Service::Failed { code: 125, dom0: true }, 125),
        (Service::JustExec { code: 0 }, 0),
    ] {
        let (vchan, served) = serve(service);
        let (report, output, _) = call(vchan, pattern(300_000), &Options::default());
        assert_eq!((report.end, output.len()), (CallEnd::Exit(code), 0));
        assert_eq!(served.join().unwrap().unwrap(), code);
    }
}

#[test]
fn what_is_said_without_a_service_is_said_in_upstreams_order() {
    let exit = |code: i32| frame(0x193, &code.to_ne_bytes());
    for (service, words) in [
        (
            Service::Failed { code: 127, dom0: false },
            [frame(0x191, b""), frame(0x192, b""), exit(127)].concat(),
        ),
        (
            Service::Failed { code: 125, dom0: true },
            [frame(0x192, b""), frame(0x191, b""), exit(125)].concat(),
        ),
        (Service::JustExec { code: 0 }, exit(0)),
    ] {
        let (mut vchan, served) = serve(service);
        hello(&vchan);
        vchan.write_all(&frame(0x190, b"")).unwrap();
        let mut got = Vec::new();
        vchan.read_to_end(&mut got).unwrap();
        assert_eq!(got, words);
        served.join().unwrap().unwrap();
    }
}

#[test]
fn a_socket_service_half_closes() {
    for (exit_on_client_eof, exit_on_service_eof) in [(false, false), (true, false), (false, true)] {
        let (ours, mut service) = UnixStream::pair().unwrap();
        let (vchan, served) =
            serve(Service::Socket { stream: ours.into(), exit_on_client_eof, exit_on_service_eof });
        let service = thread::spawn(move || {
            let mut got = Vec::new();
            if exit_on_service_eof {
                service.write_all(b"bye").unwrap();
                service.shutdown(Shutdown::Write).unwrap();
            }
            service.read_to_end(&mut got).unwrap();
            if !exit_on_client_eof && !exit_on_service_eof {
                service.write_all(b"got it").unwrap();
            }
            got
        });
        let input = if exit_on_service_eof { vec![] } else { pattern(200_000) };
        let (report, output, _) = call(vchan, input.clone(), &Options::default());
        assert_eq!(report.end, CallEnd::Exit(0));
        assert_eq!(service.join().unwrap().len(), input.len());
        match (exit_on_client_eof, exit_on_service_eof) {
            (false, false) => assert_eq!(output, b"got it"),
            (_, true) => assert_eq!(output, b"bye"),
            _ => assert!(output.is_empty()),
        }
        assert_eq!(served.join().unwrap().unwrap(), 0);
    }
}

#[test]
fn one_socket_serves_as_input_and_output_of_a_caller() {
    let (vchan, served) = serve(shell("cat; exit 1"));
    let (local, mut user) = UnixStream::pair().unwrap();
    let user = thread::spawn(move || {
        user.write_all(b"through one socket").unwrap();
        user.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        user.read_to_end(&mut got).unwrap();
        got
    });
    let input: OwnedFd = local.try_clone().unwrap().into();
    let (_errors_reader, errors) = pipe();
    let report = data::call(vchan, Some(input), local.into(), errors.into(), &Options::default()).unwrap();
    assert_eq!((report.end, user.join().unwrap()), (CallEnd::Exit(1), b"through one socket".to_vec()));
    served.join().unwrap().unwrap();
}

#[test]
fn files_and_devices_serve_as_local_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in");
    std::fs::write(&path, pattern(1_000_000)).unwrap();
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
    for append in [false, true] {
        let (vchan, served) = serve(shell("cat"));
        let out = dir.path().join("out");
        std::fs::write(&out, b"").unwrap();
        let output = File::options().write(true).append(append).open(&out).unwrap();
        let input = File::open(&path).unwrap();
        let report =
            data::call(vchan, Some(input.into()), output.into(), null().into(), &Options::default()).unwrap();
        assert_eq!(report.end, CallEnd::Exit(0));
        assert!(std::fs::read(&out).unwrap() == pattern(1_000_000), "append: {append}");
        served.join().unwrap().unwrap();
    }
    let (vchan, served) = serve(shell("cat; head -c 300000 /dev/zero"));
    let report =
        data::call(vchan, Some(null().into()), null().into(), null().into(), &Options::default()).unwrap();
    assert_eq!((report.end, report.bytes_back), (CallEnd::Exit(0), 300_000));
    served.join().unwrap().unwrap();
}

#[test]
fn p12_a_full_disk_is_no_success() {
    // Without end: one that has written all of it already has nothing to complain of.
    let (vchan, served) = serve(shell("cat /dev/zero"));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let null: File = File::options().read(true).write(true).open("/dev/null").unwrap();
    let input = null.try_clone().unwrap();
    let failed = data::call(vchan, Some(input.into()), full.into(), null.into(), &Options::default());
    assert!(matches!(failed, Err(DataError::System { .. })), "{failed:?}");
    assert!(served.join().unwrap().is_err());
}

#[test]
fn flags_of_borrowed_descriptors_are_given_back() {
    let (vchan, served) = serve(shell("cat"));
    let (input_reader, mut input_writer) = pipe();
    let (output_reader, output) = pipe();
    let (_errors_reader, errors) = pipe();
    let kept = [input_reader.try_clone().unwrap(), output.try_clone().unwrap()];
    input_writer.write_all(b"x").unwrap();
    drop(input_writer);
    data::call(vchan, Some(input_reader.into()), output.into(), errors.into(), &Options::default()).unwrap();
    for file in &kept {
        let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL).unwrap());
        assert!(!flags.contains(OFlag::O_NONBLOCK));
    }
    drop(kept);
    assert_eq!(reader(output_reader).join().unwrap(), b"x");
    served.join().unwrap().unwrap();
}

#[test]
fn a_peer_of_version_2_gets_small_chunks() {
    let (mut vchan, served) = serve(shell("head -c 100000 /dev/zero"));
    vchan.write_all(&[frame(0x300, &2u32.to_ne_bytes()), frame(0x190, b"")].concat()).unwrap();
    let mut got = Vec::new();
    vchan.read_to_end(&mut got).unwrap();
    let (mut rest, mut total) = (&got[12..], 0);
    while !rest.is_empty() {
        let len = usize::try_from(u32::from_ne_bytes(rest[4..8].try_into().unwrap())).unwrap();
        assert!(len <= 4096);
        if rest[..4] == 0x191u32.to_ne_bytes() {
            total += len;
        }
        rest = &rest[8 + len..];
    }
    assert_eq!(total, 100_000);
    served.join().unwrap().unwrap();
}
