//! Opens one file or URL in a disposable, from nothing to nothing.

use super::exec::{self, Streams};
use super::failure::Failure;
use super::options::Settings;
use super::place;
use super::running::Running;
use super::subject::Subject;
use hypervisor::local::{Isolation, Mount};
use names::{QubeName, Target, printable};
use nix::fcntl::OFlag;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::time::Duration;
use trace::Event;

pub(super) fn open(settings: &Settings, given: &OsStr) -> Result<u8, Failure> {
    let subject = Subject::check(given)?;
    if settings.xen && matches!(subject, Subject::File { .. }) {
        // Its home is gone with it, and what could not be put in place there would be lost (promise P12).
        let remedy = "\"qubes-host serve --hypervisor xen\", then \"qubes-host exec work -- tee NAME < FILE\" and \"qubes-host exec work -- qvm-open-in-dvm NAME\"";
        return Err(Failure::usage(format!("on Xen the qube work sees no file of this machine: {remedy}")));
    }
    let place = place::for_open(settings.state.as_deref())?;
    let mut running = Running::start(settings, &place, mounts(&subject))?;
    let result = call(&mut running, settings, &subject);
    let stopped = running.stop();
    let code = result?;
    stopped?;
    Ok(code)
}

fn call(running: &mut Running, settings: &Settings, subject: &Subject) -> Result<u8, Failure> {
    let work: QubeName = "work".parse().map_err(|error| Failure::trouble("name", "work", error))?;
    running.host.start_qube("work").map_err(|error| Failure::trouble("start", &work, error))?;
    if settings.preload > 0 {
        running.preload(&settings.dispvm, settings.preload)?;
    }
    let command = command(settings, subject, running.host.isolation(&work));
    let shown: Vec<String> =
        command.iter().map(|word| printable(word.as_encoded_bytes()).to_string()).collect();
    running.story.catch_up();
    let begun = os::monotonic_ns();
    running.story.tell(&Event::now("host", "call", "work", format!("in work: {}", shown.join(" "))));
    running.story.waiting_for("open in the disposable");
    let code = run(running, &work, command)?;
    let text = format!("{} ended with exit code {code}", shown.first().map_or("the call", String::as_str));
    running.story.tell(&Event::now("host", "call-ended", "work", text).since(begun).with("exit", code));
    settle(running, settings)?;
    Ok(code)
}

/// Runs the command in the calling qube, in a thread, so that the story goes on meanwhile.
fn run(running: &mut Running, work: &QubeName, command: Vec<OsString>) -> Result<u8, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::trouble("run a command in", work, error);
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|error| failed(&error))?;
    let output = write.try_clone().map_err(|error| failed(&error))?;
    let streams = Streams { input: None, output, errors: write };
    let (events, layout, name) = (running.story.own.clone(), running.layout.clone(), work.clone());
    let words = spawn("words", {
        let events = events.clone();
        move || relay(read, &name, &events)
    })?;
    let (name, done) = (work.clone(), events);
    let call = spawn("call", move || {
        let result = exec::run(&layout, &name, &command, streams);
        drop(done.send(Event::now("host", CALL_ENDED, "", "")));
        result
    })?;
    running.wait(Duration::MAX / 4, |event| event.step == CALL_ENDED)?;
    let result = call.join().map_err(|_| failed(&"the thread of the call ended early"))?;
    drop(words.join());
    running.story.catch_up();
    result
}

/// The story ends with the disposable destroyed and the queue full again, not with the call.
fn settle(running: &mut Running, settings: &Settings) -> Result<(), Failure> {
    running.story.waiting_for("destroying the disposable and refilling the queue");
    let queue = disposable::queue::Queue::templates(&running.layout.queue()).unwrap_or_default();
    let settled = |layout: &crate::Layout| {
        queue.iter().all(|template| crate::bench::queue_is_settled(layout, template, settings.preload))
    };
    for _ in 0..SETTLE_LOOKS {
        if settled(&running.layout) {
            let text = format!("queue refilled: {} waiting", settings.preload);
            if !queue.is_empty() {
                running.story.tell(&Event::now("host", "refilled", "", text));
            }
            return Ok(());
        }
        running.wait(Duration::from_millis(100), |_| true)?;
    }
    Ok(())
}

/// What the calling qube runs.
fn command(settings: &Settings, subject: &Subject, isolation: Option<Isolation>) -> Vec<OsString> {
    let mut command: Vec<OsString> = match &settings.dispvm {
        Target::Dispvm => vec!["qvm-open-in-dvm".into()],
        _ => vec!["qvm-open-in-vm".into()],
    };
    if settings.view_only {
        command.push("--view-only".into());
    }
    command.push("--".into());
    if settings.dispvm != Target::Dispvm {
        command.push(settings.dispvm.to_string().into());
    }
    command.push(match subject {
        Subject::Url(url) => url.into(),
        Subject::File { directory, name } if isolation == Some(Isolation::Processes) => {
            directory.join(name).into()
        }
        Subject::File { name, .. } => Path::new(SHARED).join(name).into(),
    });
    command
}

fn mounts(subject: &Subject) -> Vec<Mount> {
    match subject {
        Subject::Url(_) => Vec::new(),
        Subject::File { directory, .. } => {
            vec![Mount { source: directory.clone(), target: PathBuf::from(SHARED), writable: true }]
        }
    }
}

/// What the calling qube says, line by line, sanitised.
fn relay(pipe: OwnedFd, qube: &QubeName, events: &Sender<Event>) {
    for line in BufReader::new(File::from(pipe)).split(b'\n').map_while(Result::ok) {
        let text = printable(line.trim_ascii_end()).to_string();
        if !text.is_empty() && events.send(Event::now("qube", "says", qube.as_str(), text)).is_err() {
            return;
        }
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<std::thread::JoinHandle<T>, Failure> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map_err(|error| Failure::trouble("start a thread for", name, error))
}

/// Where the calling qube sees the file's directory.
const SHARED: &str = "/home/user/Documents";
/// Marks the end of the call in the stream of events; never shown, its text being empty.
const CALL_ENDED: &str = "call-thread-ended";
const SETTLE_LOOKS: u32 = 100;
