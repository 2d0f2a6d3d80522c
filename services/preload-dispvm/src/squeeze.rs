//! Memory: how much is free, and what a disposable gives back before its pause (M23).

use crate::Shared;
use crate::check::Nudge;
use disposable::keeper::qmemman::{self, Answer};
use names::{DomId, QubeName, QubeRef};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How many more disposables of a template the free memory holds; `usize::MAX` when nobody knows (R55).
pub(crate) fn affordable(shared: &Shared, template: &QubeName, threshold: u64) -> usize {
    let Ok(text) = std::fs::read_to_string(&shared.config.available_memory) else { return usize::MAX };
    let memory = shared.admin.property_get(&QubeRef::Name(template.clone()), "memory");
    let each = memory.ok().and_then(|memory| memory.value.parse().ok());
    each.and_then(|each| qmemman::affordable(&text, threshold, each)).unwrap_or(usize::MAX)
}

/// Asks qmemman in a thread of its own; the answer, whichever, comes as a nudge. `Ok(false)` when there is no qmemman (the
/// hypervisor is asked then) or the disposable does not take part: nothing will come.
pub(crate) fn begin(
    shared: &Shared,
    qube: &QubeRef,
    domid: DomId,
    nudges: &Sender<Nudge>,
) -> Result<bool, String> {
    let socket = shared.config.qmemman_socket.clone();
    let takes_part = || shared.admin.property_get(qube, "maxmem").is_ok_and(|maxmem| maxmem.value != "0");
    if !takes_part() {
        return Ok(false);
    }
    if !socket.exists() {
        to_initial_memory(shared, qube, domid);
        return Ok(false);
    }
    let stream = os::socket::connect(&socket)
        .map_err(|error| format!("cannot connect to qmemman at {}: {error}", socket.display()))?;
    let (qube, nudges) = (qube.clone(), nudges.clone());
    let ask = move || {
        match ask(stream, domid) {
            Ok(Answer::Ok) => {}
            Ok(Answer::Failed) => log::warn!("{qube}: qmemman could not set its memory"),
            Err(error) => log::warn!("{qube}: no answer from qmemman: {error}"),
        }
        // Nobody listens any more when a call has reserved the disposable meanwhile.
        drop(nudges.send(Nudge::Squeezed));
    };
    std::thread::Builder::new().name("squeeze".into()).spawn(ask).map_err(|error| error.to_string())?;
    Ok(true)
}

/// Without qmemman nobody knows what a disposable prefers; what it began with was enough for its start. As R68: that it
/// cannot be set keeps nobody from being preloaded.
fn to_initial_memory(shared: &Shared, qube: &QubeRef, domid: DomId) {
    let memory = shared.admin.property_get(qube, "memory").map(|memory| memory.value.parse::<u64>());
    let Ok(Ok(mib)) = memory else { return };
    match shared.hypervisor.set_memory_target(domid, mib << 20) {
        Ok(asked) => log::debug!("{qube}: no qmemman; asked to keep to {mib} MiB: {asked}"),
        Err(error) => log::warn!("{qube}: its memory cannot be set to {mib} MiB: {error}"),
    }
}

fn ask(mut stream: std::os::unix::net::UnixStream, domid: DomId) -> io::Result<Answer> {
    stream.set_read_timeout(Some(LONGEST_SQUEEZE))?;
    stream.write_all(qmemman::squeeze_request(domid).as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; qmemman::LONGEST_ANSWER];
    // Up to the newline: qmemman keeps the connection, and all memory, until we close it.
    while !answer.ends_with(b"\n") && answer.len() < qmemman::LONGEST_ANSWER {
        match stream.read(&mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
    stream.shutdown(Shutdown::Both)?;
    Ok(Answer::parse(&answer))
}

/// Longer than qmemman itself takes: after 3 s it wants progress every second (spec/disposables.md 14.3).
pub(crate) const LONGEST_SQUEEZE: Duration = Duration::from_secs(30);

/// Says once that nobody tells how much memory is free (R55).
pub(crate) fn say_if_unknown(file: &Path) {
    if !file.exists() {
        log::info!("no {}: preloading is not limited by memory", file.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// A qmemman that answers like this to whatever it is asked; returns what that was.
    fn ask_one_that_says(answer: &'static [u8]) -> (io::Result<Answer>, String) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let qmemman = std::thread::spawn(move || {
            let mut request = [0; 64];
            let length = theirs.read(&mut request).unwrap();
            theirs.write_all(answer).unwrap();
            // It keeps the connection, and with it all memory, until its client closes.
            if !answer.is_empty() {
                assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
            }
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        (ask(ours, DomId::try_from(7).unwrap()), qmemman.join().unwrap())
    }

    #[test]
    fn r66_r68_a_squeeze_asks_for_the_preferred_size_and_lets_go_at_once() {
        for (said, expected) in [
            (&b"OK\n"[..], Answer::Ok),
            (b"FAIL\n", Answer::Failed),
            (b"INVALID_ARG\n", Answer::Failed),
            (b"", Answer::Failed),
        ] {
            let (answer, request) = ask_one_that_says(said);
            assert_eq!(answer.unwrap(), expected);
            assert_eq!(request, "7:0\n");
        }
    }
}
