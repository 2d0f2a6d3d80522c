//! A directory for one file of one call.

use crate::landing::{Landing, random_suffix};
use crate::say::say;
use names::QubeName;
use nix::sys::statvfs::statvfs;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A place with less room than this is the last resort.
const ROOM: u64 = 64 << 20;

/// The directory and the one file in it. Dropping it removes both, and all that applications left there.
pub(super) struct Workspace {
    directory: PathBuf,
    file: PathBuf,
}

impl Workspace {
    /// A landing for a file of this name, in a directory of its own for each call (M39): in `$TMPDIR` or `/tmp`, or where
    /// the disk is when there is little room (M42).
    pub(super) fn landing(remote: &QubeName, name: &str) -> Landing<Self> {
        Self::landing_in(places(), remote, name)
    }

    pub(super) fn landing_in(places: Vec<PathBuf>, remote: &QubeName, name: &str) -> Landing<Self> {
        let (prefix, name) = (format!("{remote}-"), name.to_owned());
        Landing::new(places, move |place| Self::create(place, &prefix, &name))
    }

    fn create(place: &Path, prefix: &str, name: &str) -> io::Result<(Self, File)> {
        let directory = loop {
            let directory = place.join(format!("{prefix}{}", random_suffix()));
            match DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => {
                    created?;
                    break directory;
                }
            }
        };
        let workspace = Self { file: directory.join(name), directory };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&workspace.file)?;
        Ok((workspace, file))
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // Applications that are just ending may add a file while the others are being removed.
        for _ in 0..3 {
            match fs::remove_dir_all(&self.directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                _ => return,
            }
        }
        say("qubes.OpenInVM", &format_args!("cannot remove {}", self.directory.display()));
    }
}

fn places() -> Vec<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mut wanted = Vec::new();
    for place in [absolute("TMPDIR"), Some("/tmp".into()), absolute("HOME"), Some("/var/tmp".into())] {
        if let Some(place) = place.filter(|place| !wanted.contains(place)) {
            wanted.push(place);
        }
    }
    in_order(wanted.into_iter().map(|place| (room(&place), place)).collect())
}

fn room(place: &Path) -> u64 {
    statvfs(place).map_or(0, |data| data.blocks_available().saturating_mul(data.fragment_size()))
}

/// Places with enough room in the given order, then the others, the roomiest first.
fn in_order(mut places: Vec<(u64, PathBuf)>) -> Vec<PathBuf> {
    places.sort_by_key(|&(room, _)| std::cmp::Reverse(room.min(ROOM)));
    places.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn m42_little_room_comes_last() {
        let place = |room, name: &str| (room, PathBuf::from(name));
        let given = vec![place(1, "a"), place(ROOM, "b"), place(2, "c"), place(9 * ROOM, "d")];
        assert_eq!(in_order(given), ["b", "d", "c", "a"].map(PathBuf::from));
    }

    #[test]
    fn m39_each_call_has_a_directory_of_its_own() {
        let top = tempfile::tempdir().unwrap();
        let make = || Workspace::create(top.path(), "work-", "a.txt").unwrap().0;
        let (one, two) = (make(), make());
        assert_ne!(one.directory, two.directory);
        assert_eq!(fs::metadata(&one.directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(one.file()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(one.directory.join(".a.txt.swp"), "left over").unwrap();
        drop(one);
        drop(two);
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
    }
}
