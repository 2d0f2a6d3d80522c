//! Connecting to a server that may not be there yet.

use nix::sys::inotify::AddWatchFlags;
use os::watch::Watch;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Connects to `dir/name`, waiting until somebody listens there.
pub(super) fn connect(dir: &Path, name: &str, timeout: Option<Duration>) -> io::Result<UnixStream> {
    let path = dir.join(name);
    if let Some(stream) = attempt(&path)? {
        return Ok(stream);
    }
    let begun = Instant::now();
    let deadline = timeout.map(|timeout| begun + timeout);
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut pause = SHORTEST_PAUSE;
    while !is_over() && begun.elapsed() < SOON {
        thread::sleep(pause);
        if let Some(stream) = attempt(&path)? {
            return Ok(stream);
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    if is_over() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no server came"));
    }
    let watch = Watch::on(dir, AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO);
    let mut tick = SHORTEST_TICK;
    loop {
        // Once more after the watch was set: whoever came in between has caused no event.
        if let Some(stream) = attempt(&path)? {
            return Ok(stream);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no server came"));
        }
        let seen = watch.wait(left.map_or(tick, |left| left.min(tick)))?;
        tick = if seen { SHORTEST_TICK } else { (tick * 2).min(LONGEST_TICK) };
    }
}

/// `None` when nobody serves there yet.
fn attempt(path: &Path) -> io::Result<Option<UnixStream>> {
    match os::socket::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

/// Most servers are on their way when their client comes. A watch would cost more than looking again: the kernel keeps
/// whoever closes an inotify instance waiting for a grace period, 10 to 20 ms here.
const SOON: Duration = Duration::from_millis(30);
const SHORTEST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);
/// A server of libvchan-socket has its name before it listens, and the second of these causes no event.
const SHORTEST_TICK: Duration = Duration::from_millis(1);
/// The net under the events.
const LONGEST_TICK: Duration = Duration::from_millis(100);
