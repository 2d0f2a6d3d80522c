//! One lab at a time: two emulated machines on few cores make each other's tests run out of time.

use crate::error::LabError;
use std::fs;
use std::time::{Duration, Instant};

/// Waits until no other lab's machine runs here.
pub(crate) fn wait() -> Result<(), LabError> {
    let deadline = Instant::now() + PATIENCE;
    let mut told = None;
    while let Some(pid) = other() {
        if told != Some(pid) {
            eprintln!("xen-lab: waiting for another lab's QEMU (process {pid}) to end");
            told = Some(pid);
        }
        if Instant::now() > deadline {
            return Err(LabError::Busy { pid });
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn other() -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        is_lab(&fs::read(entry.path().join("cmdline")).ok()?).then_some(pid)
    })
}

/// Whether a command line, with zero bytes between its words, is that of a QEMU which boots Xen.
fn is_lab(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let kernel = words.skip_while(|word| *word != b"-kernel").nth(1).unwrap_or_default();
    let last = |path: &'_ [u8]| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
    last(program).is_some_and(|name| name.starts_with(b"qemu-system"))
        && last(kernel).is_some_and(|name| name.starts_with(b"xen"))
}

/// Longer than a whole run.
const PATIENCE: Duration = Duration::from_secs(1800);

#[cfg(test)]
mod tests {
    use super::is_lab;

    #[test]
    fn only_a_qemu_that_boots_xen_is_waited_for() {
        assert!(is_lab(b"qemu-system-x86_64\0-m\x004096\0-kernel\0xen\0-append\0x"));
        assert!(is_lab(b"/usr/bin/qemu-system-x86_64\0-kernel\0/a/xen-4.17\0"));
        assert!(!is_lab(b"qemu-system-x86_64\0-kernel\0vmlinuz\0"));
        assert!(!is_lab(b"qemu-system-x86_64\0xen\0"));
        assert!(!is_lab(b"vi\0-kernel\0xen\0"));
        assert!(!is_lab(b""));
    }
}
