//! How fast a stream passes, against its floor in the same run. Not a test by itself: run it with
//! `cargo test --release -p qrexec --test data_throughput -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss)]

mod data_parts;

use data_parts::pipe;
use qrexec::data::{self, Options, Service};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use vchan::Vchan;

const TOTAL: usize = 1 << 30;
const PIECE: usize = 64 << 10;

fn produce(mut to: File) {
    let piece = vec![7; PIECE];
    for _ in 0..TOTAL / PIECE {
        to.write_all(&piece).unwrap();
    }
}

fn consume(mut from: File) {
    let mut buffer = vec![0; PIECE];
    let mut got = 0;
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => break,
            count => got += count,
        }
    }
    assert_eq!(got, TOTAL);
}

/// MiB a second.
fn rate(took: Duration) -> f64 {
    (TOTAL >> 20) as f64 / took.as_secs_f64()
}

fn bare(sockets: bool) -> f64 {
    let (reader, writer) = if sockets {
        let (one, other) = UnixStream::pair().unwrap();
        (OwnedFd::from(one).into(), OwnedFd::from(other).into())
    } else {
        pipe()
    };
    let started = Instant::now();
    let producer = thread::spawn(move || produce(writer));
    consume(reader);
    producer.join().unwrap();
    rate(started.elapsed())
}

/// Producer, then so many times (pipe, caller, vchan, service side), pipe, consumer.
fn relayed(calls: usize, options: &Options) -> f64 {
    let started = Instant::now();
    let (mut reader, writer) = pipe();
    let producer = thread::spawn(move || produce(writer));
    let mut threads = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..calls {
        let (near, far) = Vchan::pair().unwrap();
        let (next, stdin) = pipe();
        let (stdout, stdout_writer) = pipe();
        let (output_reader, output) = pipe();
        let input = std::mem::replace(&mut reader, next);
        let errors = output.try_clone().unwrap();
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        kept.push((stdout_writer, output_reader, child.stdin.take().unwrap()));
        let service = Service::Process { child, stdin: stdin.into(), stdout: stdout.into(), stderr: None };
        let calling = options.clone();
        threads.push(thread::spawn(move || {
            drop(data::call(near, Some(input.into()), output.into(), errors.into(), &calling));
        }));
        let serving = Options { filter_stdout: options.filter_stdout, ..Options::default() };
        threads.push(thread::spawn(move || drop(data::serve(far, service, &serving))));
    }
    consume(reader);
    let rate = rate(started.elapsed());
    drop(kept);
    producer.join().unwrap();
    for thread in threads {
        thread.join().unwrap();
    }
    rate
}

#[test]
#[ignore = "measures"]
fn throughput() {
    for _ in 0..3 {
        let (socket, pipe) = (bare(true), bare(false));
        let (two, four) = (relayed(1, &Options::default()), relayed(2, &Options::default()));
        let copied = relayed(1, &Options { filter_stdout: true, ..Options::default() });
        println!(
            "MiB/s: bare socket pair {socket:.0}, bare pipe {pipe:.0}; two relays {two:.0} ({:.0} %), \
             four relays {four:.0} ({:.0} %), two relays without splice {copied:.0}",
            two / socket * 100.0,
            four / socket * 100.0
        );
    }
}
