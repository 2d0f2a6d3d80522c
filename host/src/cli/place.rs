//! Where a host lives when the user names no directory.

use super::failure::Failure;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The directory of a host.
#[derive(Debug)]
pub(super) struct Place {
    /// Absolute.
    pub(super) path: PathBuf,
    /// Made for this run alone: removed at its end.
    pub(super) private: bool,
}

/// A private directory for one `open`, or the one that the user named.
pub(super) fn for_open(named: Option<&Path>) -> Result<Place, Failure> {
    match named {
        Some(path) => Ok(Place { path: absolute(path)?, private: false }),
        None => {
            let path = common()?.join(format!("open-{}", std::process::id()));
            Ok(Place { path, private: true })
        }
    }
}

/// The directory of `serve`, and of `exec` and `ls`, which look for it.
pub(super) fn for_serve(named: Option<&Path>) -> Result<Place, Failure> {
    match named {
        Some(path) => Ok(Place { path: absolute(path)?, private: false }),
        None => Ok(Place { path: common()?.join("serve"), private: false }),
    }
}

/// Directories of an earlier, killed `open` (or bench): their names say whose they are, and that process is gone. Those of
/// living ones are not looked at: even a look at its lock could make a host that is just starting believe it is taken.
pub(super) fn abandoned() -> Vec<PathBuf> {
    // Only a bench makes one in memory: where there is none, none is made for a look.
    let in_memory = is_in_memory(MEMORY) && ours_path(MEMORY).exists();
    let places = [Some(common()), in_memory.then(|| ours_in(MEMORY))];
    let entries = places.into_iter().flatten().flatten().map(fs::read_dir);
    let is_abandoned = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let owner = name.strip_prefix("open-").and_then(owner);
        owner.is_some_and(|pid| os::process::ProcessId::of(pid).is_none())
    };
    entries.flatten().flatten().flatten().map(|entry| entry.path()).filter(is_abandoned).collect()
}

/// The first number in the rest of a directory's name.
fn owner(rest: &str) -> Option<i32> {
    rest.split('-').find_map(|word| word.parse().ok())
}

/// On disk, not in /tmp, which may be small and in memory: files of any size pass through disposables.
pub(crate) fn common() -> Result<PathBuf, Failure> {
    ours_in("/var/tmp")
}

/// For a bench: in memory, as /run is in dom0, so that no disk is measured; on disk where there is no such place.
pub(crate) fn in_memory() -> Result<PathBuf, Failure> {
    if is_in_memory(MEMORY) { ours_in(MEMORY) } else { common() }
}

const MEMORY: &str = "/dev/shm";

fn is_in_memory(path: &str) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

fn ours_in(parent: &str) -> Result<PathBuf, Failure> {
    let path = ours_path(parent);
    ours_alone(&path, nix::unistd::geteuid().as_raw())?;
    Ok(path)
}

fn ours_path(parent: &str) -> PathBuf {
    Path::new(parent).join(format!("qubes-host-{}", nix::unistd::geteuid().as_raw()))
}

/// Makes the directory, or sees that the one which is there is the user's and nobody else's.
fn ours_alone(path: &Path, user: u32) -> Result<(), Failure> {
    let failed = |cause: String| Failure::trouble("use the directory", path.display(), cause);
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(format!("{error}; name another with --state DIR"))),
    }
    // Anybody may write to its parent: what lies there must be ours alone.
    let found = fs::symlink_metadata(path).map_err(|error| failed(error.to_string()))?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
        return Err(failed(
            "it is not a directory of yours alone; remove it or name another with --state DIR".into(),
        ));
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let failed = |cause: &dyn std::fmt::Display| Failure::trouble("use the directory", path.display(), cause);
    let absolute = std::path::absolute(path).map_err(|error| failed(&error))?;
    // Paths below it stand in settings and command lines, which are text.
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(failed(&"its path is no UTF-8; name another with --state DIR")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_directory_that_somebody_else_planted_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let user = nix::unistd::geteuid().as_raw();
        let at = |name: &str| directory.path().join(name);
        ours_alone(&at("new"), user).unwrap();
        ours_alone(&at("new"), user).unwrap();
        assert!(ours_alone(&at("new"), user + 1).is_err());
        fs::set_permissions(at("new"), Permissions::from_mode(0o750)).unwrap();
        assert!(ours_alone(&at("new"), user).is_err());
        fs::set_permissions(at("new"), Permissions::from_mode(0o700)).unwrap();
        symlink(at("new"), at("link")).unwrap();
        assert!(ours_alone(&at("link"), user).is_err());
        fs::write(at("file"), "").unwrap();
        assert!(ours_alone(&at("file"), user).is_err());
    }
}
