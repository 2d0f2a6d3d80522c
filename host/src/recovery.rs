//! What an earlier host left when it was killed: found and removed before a new one begins (promise P5).
//!
//! The caller holds the lock of the state directory, so nothing that is found here belongs to a living host.

use crate::error::HostError;
use crate::layout::Layout;
use crate::life;
use hypervisor::local::Local;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use os::process::ProcessId;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long processes of an earlier host may take to die.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends processes and qubes of an earlier host and removes what lived as long as it. `keep` is the story's socket.
pub(crate) fn recover(layout: &Layout, local: &Local, keep: Option<&Path>) -> Result<(), HostError> {
    // Their lifelines are cut, so all of these end by themselves; here they are waited for, and made to.
    end_processes(layout)?;
    life::sweep(local).map_err(HostError::Recovery)?;
    crate::xen::sweep(layout).map_err(HostError::Recovery)?;
    let failed = |path: &Path| HostError::file("clear", path.to_owned());
    empty(&layout.run(), keep).map_err(failed(&layout.run()))?;
    empty(&layout.vchan(), None).map_err(failed(&layout.vchan()))
}

/// Removes the directories of disposables, and what an earlier host had not finished to remove.
pub(crate) fn remove_leftovers(layout: &Layout, is_known: impl Fn(&str) -> bool) -> Result<(), HostError> {
    let found =
        life::leftovers(&layout.qubes(), is_known).map_err(HostError::file("read", layout.qubes()))?;
    for path in found {
        life::remove_tree(&path).map_err(HostError::file("remove", path))?;
    }
    Ok(())
}

fn end_processes(layout: &Layout) -> Result<(), HostError> {
    let directory = layout.processes();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(HostError::file("read", directory)(error)),
    };
    let records: Vec<ProcessId> = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok()?.parse().ok())
        .filter(|process: &ProcessId| process.is_alive())
        .collect();
    for process in &records {
        log::info!("process {process} was left by an earlier host");
        if process.is_alive() {
            if let Err(error) = kill(Pid::from_raw(process.pid), Signal::SIGKILL) {
                log::debug!("process {process}: {error}");
            }
        }
    }
    let until = Instant::now() + PATIENCE;
    while let Some(process) = records.iter().find(|process| process.is_alive()) {
        if Instant::now() >= until {
            return Err(HostError::Recovery(format!("process {process} does not die")));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Removes what is in a directory, but one thing. The registry of the hypervisor was emptied by its own sweep.
fn empty(directory: &Path, keep: Option<&Path>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if Some(entry.path().as_path()) == keep {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
