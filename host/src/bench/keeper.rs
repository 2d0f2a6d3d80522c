//! What the keeper costs while nothing happens.

use super::figure::Figure;
use super::site::Site;
use crate::cli::Failure;
use os::process::ProcessId;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// Wake-ups a second with a full queue: those of all its threads, told by the kernel as voluntary context switches. Its
/// health look, once in 30 s, falls into one or two of the spans; it is why the worst is not 0.
pub(super) fn idle(site: &Site) -> Result<Vec<Figure>, Failure> {
    site.wait_until_settled()?;
    // What the last disposables set in motion comes to rest.
    std::thread::sleep(SPAN);
    let mut rates = Vec::new();
    for _ in 0..SPANS {
        let (begun, before) = (Instant::now(), look(site, switches)?);
        std::thread::sleep(SPAN);
        #[allow(clippy::cast_precision_loss, reason = "a few dozen")]
        let count = (look(site, switches)? - before) as f64;
        rates.push(count / begun.elapsed().as_secs_f64());
    }
    Ok(vec![Figure::of("keeper_wakeups", "wakes/s", None, rates)])
}

/// Resident memory with 100 templates, one disposable of each waiting.
pub(super) fn memory(site: &Site) -> Result<Vec<Figure>, Failure> {
    site.preload_more_templates(TEMPLATES - 1)?;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
        sizes.push(look(site, resident)? as f64 / 1024.0);
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(vec![Figure::of("keeper_rss", "MiB", None, sizes)])
}

fn look(site: &Site, what: fn(i32) -> io::Result<u64>) -> Result<u64, Failure> {
    let record = site.layout().processes().join("preload-dispvm");
    let keeper = || -> io::Result<u64> {
        let process: ProcessId =
            fs::read_to_string(&record)?.parse().map_err(|()| io::ErrorKind::InvalidData)?;
        what(process.pid)
    };
    keeper().map_err(|error| Failure::trouble("look at", "the keeper", error))
}

fn switches(pid: i32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        sum += number(&fs::read_to_string(task?.path().join("status"))?, "voluntary_ctxt_switches:");
    }
    Ok(sum)
}

/// In KiB.
fn resident(pid: i32) -> io::Result<u64> {
    Ok(number(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:"))
}

fn number(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    value.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

const TEMPLATES: usize = 100;
const SPAN: Duration = Duration::from_secs(2);
const SPANS: usize = 10;
