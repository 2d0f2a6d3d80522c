//! How long-lived programs end with the host that started them.

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::io::Read;
use std::thread;
use std::time::Duration;

/// Set for a child whose standard input is a lifeline.
pub const VARIABLE: &str = "QUBES_HOST_LIFELINE";

/// To be called at the start of a program that a host may have started: where [`VARIABLE`] is set, the process ends when
/// its standard input does, as by SIGTERM, and two seconds later as by SIGKILL.
pub fn hold() {
    if std::env::var_os(VARIABLE).is_none() {
        return;
    }
    let watch = || {
        // Signals are for the program's own threads, which may have prepared for them.
        if let Err(error) = SigSet::all().thread_block() {
            log::warn!("lifeline: {error}");
        }
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0u8; 64];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if kill(Pid::this(), signal).is_err() {
                return;
            }
            thread::sleep(Duration::from_secs(2));
        }
    };
    if let Err(error) = thread::Builder::new().name("lifeline".into()).spawn(watch) {
        log::error!("cannot watch the lifeline: {error}");
    }
}
