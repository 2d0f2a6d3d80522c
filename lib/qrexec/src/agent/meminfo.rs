//! Waking the memory reporter of the qube (spec/qrexec-wire.md 2.4).

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use qubes_qrexec_sys::path::MEMINFO_WRITER_PID;

/// The memory reporter sleeps until the first call comes.
#[derive(Debug, Default)]
pub(super) struct Meminfo {
    woken: bool,
}

impl Meminfo {
    /// Wakes it with SIGUSR1, once; until that succeeded every call tries.
    pub(super) fn wake(&mut self) {
        if self.woken {
            return;
        }
        let pid = std::fs::read_to_string(MEMINFO_WRITER_PID).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid @ 2..=65535) = pid {
            self.woken = kill(Pid::from_raw(pid), Signal::SIGUSR1).is_ok();
        }
    }
}
