//! What a qube has on disk.

use super::start::Plan;
use crate::copy::copy_tree;
use crate::dom0::Dom0;
use crate::layout;
use admin::QubeClass;
use names::QubeName;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Directories that wait for their removal have this before their name, which no qube's name has.
const REMOVED: &str = ".removed-";

/// Makes the directory of a new qube, which must not get what an earlier one of its name kept.
pub(super) fn make(dom0: &Dom0, name: &QubeName) -> io::Result<()> {
    let path = dom0.layout().qube(name.as_str());
    if fs::symlink_metadata(&path).is_ok() {
        let text =
            format!("an earlier qube of this name has left {}: move it away, or remove it", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    layout::make(&dom0.layout().private(name.as_str()))
}

/// Makes the directory of a qube that is about to start: a qube's own home stays, a disposable's is a copy of its
/// template's as it is now (spec/disposables.md R2). Temporary directories are always empty.
pub(super) fn prepare(dom0: &Dom0, plan: &Plan) -> io::Result<PathBuf> {
    let layout = dom0.layout();
    let directory = layout.qube(plan.name.as_str());
    if plan.class == QubeClass::DispVM {
        remove_if_there(&directory)?;
        layout::make(&directory.join("private"))?;
        if let Some(template) = &plan.template {
            let from = layout.private(template.as_str());
            if from.exists() {
                copy_tree(&from, &directory.join("private"))?;
            }
        }
    } else {
        layout::make(&directory.join("private"))?;
        for temporary in ["tmp", "var-tmp"] {
            remove_if_there(&directory.join(temporary))?;
        }
    }
    Ok(directory)
}

/// Takes a qube's directory away at once and has it removed in the background.
pub(super) fn discard(dom0: &Dom0, name: &QubeName) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let path = dom0.layout().qube(name.as_str());
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = dom0.layout().qubes().join(format!("{REMOVED}{name}-{number}"));
    match fs::rename(&path, &aside) {
        Ok(()) => dom0.removals.remove(aside),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::error!("{}: {error}", path.display()),
    }
}

/// Directories that are being removed, one after the other.
#[derive(Debug)]
pub(crate) struct Removals {
    worker: Mutex<Option<(Sender<PathBuf>, JoinHandle<()>)>>,
}

impl Removals {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = channel::<PathBuf>();
        let work = move || {
            os::scheduling::let_others_go_first();
            for path in receiver {
                if let Err(error) = remove_tree(&path) {
                    log::error!("{}: {error}", path.display());
                }
            }
        };
        let thread = thread::Builder::new().name("removals".into()).spawn(work)?;
        Ok(Self { worker: Mutex::new(Some((sender, thread))) })
    }

    fn remove(&self, path: PathBuf) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        let left = match worker.as_ref() {
            Some((sender, _)) => sender.send(path).err().map(|unsent| unsent.0),
            None => Some(path),
        };
        if let Some(path) = left {
            log::warn!("{} stays until the next start", path.display());
        }
    }

    /// Returns when everything is removed.
    pub(crate) fn finish(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((sender, thread)) = worker {
            drop(sender);
            if thread.join().is_err() {
                log::error!("the thread that removes directories ended early");
            }
        }
    }
}

/// Directories of disposables that an earlier host made, and what it had not finished to remove.
pub(crate) fn leftovers(qubes: &Path, is_known: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(qubes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix("disp").unwrap_or_default();
        let is_disposable = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if name.starts_with(REMOVED) || is_disposable && !is_known(&name) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match remove_tree(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a tree of a qube, which may have taken its own rights away from directories.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // Its qube is gone: nobody changes anything under our hands any more.
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn open_up(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_what_an_earlier_host_left_is_found_and_removed() {
        let top = tempfile::tempdir().unwrap();
        for name in ["disp12", "disp7", "displays", "work", ".removed-disp3-0/a", "disp"] {
            fs::create_dir_all(top.path().join(name)).unwrap();
        }
        let locked = top.path().join(".removed-disp3-0/a");
        fs::write(locked.join("x"), "").unwrap();
        fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
        let mut found = leftovers(top.path(), |name| name == "disp7").unwrap();
        found.sort();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, [".removed-disp3-0", "disp12"]);
        found.iter().for_each(|path| remove_tree(path).unwrap());
        assert!(!top.path().join(".removed-disp3-0").exists());
    }
}
