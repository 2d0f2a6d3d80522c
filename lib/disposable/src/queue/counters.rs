//! HEAD and TAIL: the numbers of the oldest entry and of the next one.

use super::lock::QueueLock;
use std::io;
use std::os::unix::fs::FileExt;

/// Numbers of `ready/`, kept in the lock's own file. Hints: whoever reads them must bear any value (a crash may have
/// left older ones), which stepping over gaps does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    /// No entry has a lower number.
    pub(super) head: u64,
    /// No entry has this or a higher number.
    pub(super) tail: u64,
}

impl Counters {
    pub(super) fn read(lock: &QueueLock) -> io::Result<Self> {
        let mut bytes = [0u8; 42];
        let length = lock.file().read_at(&mut bytes, 0)?;
        Ok(bytes.get(..length).and_then(Self::parse).unwrap_or_default())
    }

    /// Always the same length, so that one write replaces the whole.
    pub(super) fn write(self, lock: &QueueLock) -> io::Result<()> {
        lock.file().write_all_at(format!("{:020} {:020}\n", self.head, self.tail).as_bytes(), 0)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, tail) = std::str::from_utf8(bytes).ok()?.trim_end().split_once(' ')?;
        let (head, tail) = (head.parse().ok()?, tail.parse().ok()?);
        (head <= tail).then_some(Self { head, tail })
    }
}

/// The file name of the entry with this number: of equal length, so that `ls` shows them in order.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:012}")
}
