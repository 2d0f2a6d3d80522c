//! Limits per calling qube, so that one qube cannot drain the queue for all (promise P13).
//!
//! Files below `QUEUE/.sources/QUBE/`: a call holds a lock on one of `calls-per-source` numbered files for as long as it
//! lives, so the kernel frees the place of whoever dies; the times of the last minute's calls lie in `begun`.

use crate::error::CallError;
use names::QubeName;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How many calls one qube may have; 0 is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceLimits {
    /// At the same time.
    pub at_once: usize,
    /// Begun within a minute.
    pub per_minute: usize,
}

/// A call that is within the limits; to be kept until it ends.
#[derive(Debug)]
pub struct Admission(#[allow(dead_code, reason = "held, never read")] Option<Flock<File>>);

/// Lets a call of `source` in. `now` is in nanoseconds of the monotonic clock. Without limits no file is touched.
///
/// # Errors
/// A refusal when the qube has used up its limit; our trouble when that cannot be known.
pub fn admit(
    queue: &Path,
    source: &QubeName,
    limits: SourceLimits,
    now: u64,
) -> Result<Admission, CallError> {
    if limits == SourceLimits::default() {
        return Ok(Admission(None));
    }
    let trouble = |error: io::Error| CallError::trouble("count the calls of", source, error);
    let directory = queue.join(".sources").join(source.as_str());
    fs::create_dir_all(&directory).map_err(trouble)?;
    let slot = take_slot(&directory, limits.at_once).map_err(trouble)?;
    if limits.at_once > 0 && slot.is_none() {
        return Err(CallError::refused(
            "serve",
            source,
            format!("{} calls of it are under way", limits.at_once),
        )
        .remedy("calls-per-source in dispvm.toml is the limit"));
    }
    if limits.per_minute > 0 && !note_begun(&directory, limits.per_minute, now).map_err(trouble)? {
        return Err(CallError::refused(
            "serve",
            source,
            format!("it began {} within a minute", limits.per_minute),
        )
        .remedy("calls-per-source-minute in dispvm.toml is the limit"));
    }
    Ok(Admission(slot))
}

fn take_slot(directory: &Path, slots: usize) -> io::Result<Option<Flock<File>>> {
    for slot in 0..slots {
        match Flock::lock(open(&directory.join(slot.to_string()))?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, error)) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Whether the call may begin; then its time is noted. Under a lock of microseconds.
fn note_begun(directory: &Path, most: usize, now: u64) -> io::Result<bool> {
    let file = open(&directory.join("begun"))?;
    let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let mut text = String::new();
    Read::take(&*file, LONGEST).read_to_string(&mut text)?;
    // Times after now are of another boot.
    let recent = |time: &u64| *time <= now && now - *time < MINUTE;
    let mut times: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).filter(recent).collect();
    if times.len() >= most {
        return Ok(false);
    }
    times.push(now);
    let was = text.len();
    let text: String = times.iter().map(|time| format!("{time}\n")).collect();
    // Written over and then cut, never emptied first: ext4 takes a file that was emptied for one that is being replaced,
    // and writes it to the disk when it is closed (auto_da_alloc, ext4(5)). Whoever dies between the two leaves times that
    // are counted twice.
    file.write_all_at(text.as_bytes(), 0)?;
    if text.len() < was {
        file.set_len(text.len() as u64)?;
    }
    Ok(true)
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

const MINUTE: u64 = 60_000_000_000;
/// In bytes: more than the times of the most calls that a minute may have.
const LONGEST: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Queue;

    fn work() -> QubeName {
        "work".parse().unwrap()
    }

    #[test]
    fn p13_calls_at_once_are_limited_per_qube_and_a_dead_one_counts_no_more() {
        let queue = tempfile::tempdir().unwrap();
        let limits = SourceLimits { at_once: 2, per_minute: 0 };
        let admit = |name: &QubeName| admit(queue.path(), name, limits, 1);
        let first = admit(&work()).unwrap();
        let _second = admit(&work()).unwrap();
        assert_eq!(admit(&work()).unwrap_err().exit_code(), 126);
        assert!(admit(&"vault".parse().unwrap()).is_ok(), "others have their own");
        drop(first);
        assert!(admit(&work()).is_ok());
        assert_eq!(Queue::templates(queue.path()).unwrap(), [], "it is no queue");
    }

    #[test]
    fn p13_calls_of_a_minute_are_limited() {
        let queue = tempfile::tempdir().unwrap();
        let limits = SourceLimits { at_once: 0, per_minute: 2 };
        let admit = |now: u64| admit(queue.path(), &work(), limits, now).is_ok();
        assert_eq!([1, 2, 3].map(admit), [true, true, false]);
        assert_eq!([MINUTE + 1, MINUTE + 1, MINUTE + 2].map(admit), [true, false, true]);
        // After a reboot the clock begins anew.
        assert!(admit(0));
    }

    #[test]
    fn p13_without_limits_nothing_is_written() {
        let queue = tempfile::tempdir().unwrap();
        assert!(admit(queue.path(), &work(), SourceLimits::default(), 1).is_ok());
        assert_eq!(fs::read_dir(queue.path()).unwrap().count(), 0);
    }
}
