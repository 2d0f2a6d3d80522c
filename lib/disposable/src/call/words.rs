//! What a disposable says on stderr: sanitised, cut, one line at a time (promise P7).

use qrexec::data::Errors;
use std::io::{self, Write};
use std::os::fd::AsFd;
use trace::{Event, Reporter};

/// To our stderr (the daemon's log) and to the story, line by line.
pub(super) fn sanitised(name: &str, story: &Reporter) -> Errors {
    let (name, story) = (name.to_owned(), story.try_clone());
    let mut lines = Lines::to(move |text: &str| {
        // Nobody may be there to read it.
        drop(io::stderr().write_all(format!("{name}: {text}\n").as_bytes()));
        story.report(&Event::now("qube", "says", &name, text));
    });
    Errors::Told(Box::new(move |bytes| lines.take(bytes)))
}

/// Straight to our stderr.
pub(super) fn straight() -> io::Result<Errors> {
    io::stderr().as_fd().try_clone_to_owned().map(Errors::To)
}

/// Makes lines for people out of bytes; the last one need not end.
struct Lines<T: FnMut(&str)> {
    tell: T,
    line: Vec<u8>,
    heard: usize,
}

/// One call may fill the log with this many bytes; the rest is dropped.
const MOST: usize = 16 * 1024;
/// A longer line is broken, in bytes.
const LONGEST_LINE: usize = 400;

impl<T: FnMut(&str)> Lines<T> {
    const fn to(tell: T) -> Self {
        Self { tell, line: Vec::new(), heard: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.heard > MOST {
                return;
            }
            self.heard += 1;
            if self.heard > MOST {
                self.line.clear();
                return (self.tell)("… the rest of what it says is not shown");
            }
            self.line.push(byte);
            if byte == b'\n' || self.line.len() == LONGEST_LINE {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let text = names::printable(self.line.trim_ascii_end()).to_string();
        self.line.clear();
        if !text.is_empty() {
            (self.tell)(&text);
        }
    }
}

impl<T: FnMut(&str)> Drop for Lines<T> {
    fn drop(&mut self) {
        self.end_line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of bytes that come in pieces of `piece`.
    fn told(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut told = Vec::new();
        let mut lines = Lines::to(|text: &str| told.push(text.to_owned()));
        bytes.chunks(piece).for_each(|piece| lines.take(piece));
        drop(lines);
        told
    }

    #[test]
    fn p7_lines_are_sanitised_however_they_come() {
        let bytes = b"opening a.txt\r\n\n\x1b[31mred\xff\nno end";
        for piece in 1..=bytes.len() {
            let lines = told(bytes, piece);
            assert_eq!(lines.len(), 3, "{lines:?}");
            assert_eq!((lines[0].as_str(), lines[2].as_str()), ("opening a.txt", "no end"));
            assert!(lines[1].contains("red") && !lines[1].contains('\x1b'), "{lines:?}");
        }
    }

    #[test]
    fn p7_long_lines_are_broken_and_too_much_is_dropped() {
        assert_eq!(told(&[b'a'; 1000], 7).iter().map(String::len).collect::<Vec<_>>(), [400, 400, 200]);
        let lines = told(&[b'b'; 100_000], 4096);
        assert_eq!(lines.iter().filter(|line| line.starts_with('b')).count(), MOST / LONGEST_LINE);
        assert_eq!(lines.iter().filter(|line| line.starts_with('…')).count(), 1);
    }
}
