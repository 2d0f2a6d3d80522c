//! Where policy files come from.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// What the loader needs of a file system. [`crate::Directories`] is the real one; tests may bring their own.
pub trait PolicySource {
    /// The names of the regular files of a directory (after following symbolic links), in any order.
    ///
    /// # Errors
    /// [`SourceError::Absent`] when there is no such directory.
    fn list(&mut self, directory: &Path) -> Result<Vec<OsString>, SourceError>;

    /// The bytes of a regular file.
    ///
    /// # Errors
    /// [`SourceError::Absent`] when there is no regular file of that name, [`SourceError::TooLarge`] when it has more
    /// than `limit` bytes.
    fn read(&mut self, file: &Path, limit: usize) -> Result<Vec<u8>, SourceError>;

    /// The path without `.` and `..`, for messages and for noticing a file that includes itself.
    fn resolve(&self, path: &Path) -> PathBuf {
        without_dots(path)
    }
}

/// Why a file or directory could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceError {
    /// It does not exist, or is no regular file (no directory).
    Absent,
    /// It is larger than the limit given.
    TooLarge,
    /// The system's reason.
    Failed(String),
}

/// The path with `.` and `..` taken out by text alone.
pub(crate) fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match plain.components().next_back() {
                Some(Component::Normal(_)) => {
                    plain.pop();
                }
                Some(Component::RootDir) => {}
                _ => plain.push(".."),
            },
            _ => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_go_away() {
        for (path, plain) in [
            ("/a/./b/../c", "/a/c"),
            ("/../a", "/a"),
            ("../../a", "../../a"),
            ("a/..", ""),
            ("/a//b/", "/a/b"),
        ] {
            assert_eq!(without_dots(Path::new(path)), Path::new(plain), "{path}");
        }
    }
}
