//! qmemman, which moves memory between domains: its socket's words and its file (spec/disposables.md, section 14). Pure.

use names::DomId;

/// The request that a domain gives back what it does not need before it is paused: paused domains cannot (14.1, M23).
/// The connection is closed after the answer; until then no memory moves.
#[must_use]
pub fn squeeze_request(domid: DomId) -> String {
    format!("{domid}:0\n")
}

/// Longest answer in bytes; a longer one is none of qmemman's.
pub const LONGEST_ANSWER: usize = 64;

/// What qmemman said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Ok,
    /// It could not, or it did not understand, or it closed without a word: the pause goes on (R68).
    Failed,
}

impl Answer {
    /// Reads all bytes until qmemman closed, or the first line.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        if bytes.strip_suffix(b"\n").unwrap_or(bytes) == b"OK" { Self::Ok } else { Self::Failed }
    }
}

/// How many more disposables the free memory holds (R55, R56): `available` is the content of qmemman's file, one decimal
/// number of bytes that may be negative; `threshold` and `each` are MiB. `None` when the file holds no number or a
/// disposable has no size of its own.
#[must_use]
pub fn affordable(available: &str, threshold: u64, each: u64) -> Option<usize> {
    let available: i128 = available.trim().parse().ok()?;
    let free = available - i128::from(threshold) * MIB;
    let each = i128::from(each) * MIB;
    if each == 0 {
        return None;
    }
    Some(usize::try_from(free.max(0) / each).unwrap_or(usize::MAX))
}

const MIB: i128 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r55_r56_what_the_memory_holds() {
        let mib = |count: i64| (count * (1 << 20)).to_string();
        assert_eq!(affordable(&mib(1000), 0, 400), Some(2));
        assert_eq!(affordable(&(mib(1000) + "\n"), 250, 400), Some(1));
        assert_eq!(affordable(&mib(1000), 2000, 400), Some(0));
        assert_eq!(affordable(&mib(-5), 0, 400), Some(0));
        assert_eq!(affordable("garbage", 0, 400), None);
        assert_eq!(affordable("", 0, 400), None);
        assert_eq!(affordable("99999999999999999999999999999999999999999999", 0, 400), None);
        assert_eq!(affordable(&mib(1), 0, 0), None);
        assert_eq!(affordable(&mib(1), u64::MAX, u64::MAX), Some(0));
    }

    #[test]
    fn r66_r68_squeeze_and_its_answers() {
        assert_eq!(squeeze_request(DomId::try_from(17).unwrap()), "17:0\n");
        assert_eq!(Answer::parse(b"OK\n"), Answer::Ok);
        for bytes in [&b"FAIL\n"[..], b"INVALID_ARG\n", b"", b"OK OK\n", b"\xff"] {
            assert_eq!(Answer::parse(bytes), Answer::Failed);
        }
    }
}
