//! Why the last start came to nothing, kept beside the queue until one succeeds, for whoever asks why so few wait.

use super::Queue;
use names::printable;
use nix::fcntl::OFlag;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fmt;
use std::io::{self, Read};

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// When: seconds since the epoch, for people.
    pub time: u64,
    /// What was being done, with its object: `start disp12`.
    pub step: String,
    /// Why it could not be done.
    pub cause: String,
    /// What an administrator can do about it.
    pub remedy: String,
}

impl StartFailure {
    /// Reads the text form. `None` when a line is missing or is not what it should be.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let shown = |key| value(key).map(|value| printable(value.as_bytes()).to_string());
        Some(Self {
            time: value("time")?.parse().ok()?,
            step: shown("step")?,
            cause: shown("cause")?,
            remedy: shown("remedy")?,
        })
    }
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A cause may come from elsewhere: each value is one line of text that can be shown, and not endless.
        let shown = |value: &str| -> String {
            printable(value.as_bytes()).to_string().chars().take(WIDEST).collect()
        };
        writeln!(f, "time={}", self.time)?;
        writeln!(f, "step={}", shown(&self.step))?;
        writeln!(f, "cause={}", shown(&self.cause))?;
        writeln!(f, "remedy={}", shown(&self.remedy))
    }
}

impl Queue {
    /// Keeps a failure in place of the one before.
    ///
    /// # Errors
    /// The lock cannot be had in time, or the file cannot be written.
    pub fn note_failure(&self, failure: &StartFailure) -> io::Result<()> {
        let _lock = self.lock()?;
        self.write_file(FILE, &failure.to_string())
    }

    /// Forgets it: a start has succeeded.
    ///
    /// # Errors
    /// The file cannot be removed; that there is none is no error.
    pub fn forget_failure(&self) -> io::Result<()> {
        match unlinkat(self.dir(), FILE, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The failure since which no start has succeeded; `None` when there is none, or what was noted makes no sense.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_failure(&self) -> io::Result<Option<StartFailure>> {
        let mut text = Vec::new();
        match self.open_file(FILE, OFlag::O_RDONLY) {
            Ok(file) => file.take(LONGEST).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(StartFailure::parse(&String::from_utf8_lossy(&text)))
    }
}

const FILE: &str = "failure";
/// In characters, of one value.
const WIDEST: usize = 1000;
/// In bytes, of the file: three values and their keys.
const LONGEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn failure(cause: &str) -> StartFailure {
        let (step, remedy) = ("start disp7".into(), "look".into());
        StartFailure { time: 1_700_000_000, step, cause: cause.into(), remedy }
    }

    #[test]
    fn a_failure_is_kept_until_a_success() {
        let root = tempfile::tempdir().unwrap();
        let queue = Queue::create(root.path(), &"dvm".parse().unwrap(), Duration::from_secs(1)).unwrap();
        assert_eq!(queue.last_failure().unwrap(), None);
        for cause in ["first", "second = other"] {
            queue.note_failure(&failure(cause)).unwrap();
            assert_eq!(queue.last_failure().unwrap(), Some(failure(cause)));
        }
        queue.forget_failure().unwrap();
        queue.forget_failure().unwrap();
        assert_eq!(queue.last_failure().unwrap(), None);
    }

    #[test]
    fn p7_a_cause_from_elsewhere_is_one_line_that_can_be_shown() {
        let text = failure(&format!("a\nremedy=evil\x1b[2J{}", "x".repeat(5000))).to_string();
        let read = StartFailure::parse(&text).unwrap();
        assert_eq!(read.remedy, "look");
        assert!(
            read.cause.starts_with("a_remedy=evil_[2Jxxx") && read.cause.len() == WIDEST,
            "{}",
            read.cause
        );
        assert_eq!(StartFailure::parse("time=x\nstep=\ncause=\nremedy=\n"), None);
        assert_eq!(StartFailure::parse(""), None);
    }
}
