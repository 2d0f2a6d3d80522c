//! What a traced program asks of Xen and of xenstore, told from its system calls.

use nix::libc;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A system call at its entry: number and first arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: i64,
    arguments: [u64; 3],
}

impl Call {
    /// The one that a stopped thread is about to make; proc(5), `/proc/PID/syscall`.
    pub(super) fn of(thread: Pid) -> io::Result<Option<Self>> {
        Ok(Self::parse(&std::fs::read_to_string(format!("/proc/{thread}/syscall"))?))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let number = words.next()?.parse().ok()?;
        let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
        Some(Self { number, arguments: [argument()?, argument()?, argument()?] })
    }
}

/// Counts of one run.
#[derive(Debug, Default)]
pub(super) struct XenCalls {
    /// ioctl(2) on Xen's privileged interface: each is a hypercall.
    pub(super) privcmd: usize,
    /// Requests to xenstore.
    pub(super) xenstore: usize,
    /// Connections to xenstore, by what /proc calls them, and what is still to come of each one's message.
    connections: HashMap<String, u64>,
}

impl XenCalls {
    pub(super) fn note(&mut self, thread: Pid, call: Call) -> io::Result<()> {
        let [descriptor, pointer, length] = call.arguments;
        match call.number {
            libc::SYS_ioctl => {
                self.privcmd += usize::from(target(thread, descriptor)? == "/dev/xen/privcmd");
            }
            libc::SYS_connect => {
                let address = memory(thread, pointer, length.min(LONGEST_ADDRESS))?;
                // Two bytes of family before the path.
                let path = String::from_utf8_lossy(address.get(2..).unwrap_or_default()).into_owned();
                if path.trim_end_matches('\0').ends_with("xenstored/socket") {
                    self.connections.insert(target(thread, descriptor)?, 0);
                }
            }
            libc::SYS_write | libc::SYS_sendto if !self.connections.is_empty() => {
                self.written(thread, descriptor, pointer, length)?;
            }
            libc::SYS_writev if !self.connections.is_empty() => {
                let parts = memory(thread, pointer, length.min(MOST_PARTS) * 16)?;
                for part in parts.chunks_exact(16) {
                    self.written(thread, descriptor, word(part, 0), word(part, 8))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A message is a head of 16 bytes, whose last word is the length of what follows; some write it in one piece, some not.
    fn written(&mut self, thread: Pid, descriptor: u64, pointer: u64, length: u64) -> io::Result<()> {
        let Some(rest) = self.connections.get_mut(&target(thread, descriptor)?) else { return Ok(()) };
        let mut at = 0;
        while at < length {
            if *rest == 0 {
                let head = memory(thread, pointer + at, HEAD)?;
                self.xenstore += 1;
                *rest = HEAD + (word(&head, 8) >> 32);
            }
            let taken = (*rest).min(length - at);
            *rest -= taken;
            at += taken;
        }
        Ok(())
    }
}

/// What a descriptor means.
fn target(thread: Pid, descriptor: u64) -> io::Result<String> {
    let link = std::fs::read_link(format!("/proc/{thread}/fd/{descriptor}"));
    match link {
        Ok(path) => Ok(path.to_string_lossy().into_owned()),
        // The call will fail, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn memory(thread: Pid, pointer: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    File::open(format!("/proc/{thread}/mem"))?.read_exact_at(&mut bytes, pointer)?;
    Ok(bytes)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}

const HEAD: u64 = 16;
/// `struct sockaddr_un`.
const LONGEST_ADDRESS: u64 = 110;
const MOST_PARTS: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_number_and_arguments_and_a_running_thread_has_none() {
        let call = Call::parse("16 0x5 0x305000 0x7ffe 0x0 0x0 0x0 0x7ffe0 0x7f").unwrap();
        assert_eq!(call, Call { number: 16, arguments: [5, 0x30_5000, 0x7ffe] });
        assert_eq!(Call::parse("running\n"), None);
    }

    #[test]
    fn messages_are_counted_whole_or_in_pieces() {
        // Of this very process, whose memory can be read like any other's.
        let thread = nix::unistd::gettid();
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let descriptor = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&one)).unwrap();
        let mut calls = XenCalls::default();
        calls.connections.insert(target(thread, descriptor).unwrap(), 0);
        let mut bytes = [0u8; 16 + 6];
        bytes[12] = 6;
        let at = |offset: usize| bytes.as_ptr() as u64 + offset as u64;
        for (offset, length) in [(0, 22), (0, 16), (16, 2), (18, 4)] {
            calls.written(thread, descriptor, at(offset), length).unwrap();
        }
        assert_eq!(calls.xenstore, 2);
        calls.written(thread, 0, at(0), 22).unwrap();
        assert_eq!(calls.xenstore, 2, "not xenstore's");
    }
}
