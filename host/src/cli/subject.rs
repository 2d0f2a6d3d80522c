//! What is to be opened, checked before anything is started.

use super::failure::Failure;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::PathBuf;
use vm::subject;

/// A file of this machine, or a URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The file's directory, which the calling qube gets to see, and the file's name in it.
    File { directory: PathBuf, name: OsString },
    /// A URL, as given.
    Url(String),
}

impl Subject {
    /// Tells files from URLs and refuses what cannot be opened. A symbolic link is followed: the file that it names is
    /// opened and, if edited, replaced.
    pub(super) fn check(given: &OsStr) -> Result<Self, Failure> {
        let given = match subject::classify(given) {
            Ok(subject::Subject::Url(url)) => return Ok(Self::Url(url.as_str().to_owned())),
            Ok(subject::Subject::File(path)) => path,
            Err(error) => return Err(Failure::subject(error.to_string())),
        };
        let path = given.as_path();
        let shown = names::printable(path.as_os_str().as_encoded_bytes());
        let failed =
            |cause: &dyn std::fmt::Display| Failure::subject(format!("cannot open \"{shown}\": {cause}"));
        let missing = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(&subject::absence(path.as_os_str())),
            _ => failed(&error),
        };
        let found = fs::metadata(path).map_err(missing)?;
        if found.is_dir() {
            return Err(failed(&"it is a directory; only files can be opened in a disposable"));
        }
        if !found.is_file() {
            return Err(failed(&"it is not a regular file"));
        }
        File::open(path).map_err(|error| failed(&error))?;
        let path = fs::canonicalize(path).map_err(|error| failed(&error))?;
        match (path.parent(), path.file_name()) {
            (Some(directory), Some(name)) => {
                Ok(Self::File { directory: directory.into(), name: name.into() })
            }
            _ => Err(failed(&"it has no name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_wrong_subject_is_told_apart() {
        for (given, part) in [
            ("/", "directory"),
            ("/nosuch", "no such file"),
            ("/dev/null", "regular file"),
            ("gopher://x", "only http"),
            ("mailto:x", "not mailto"),
            ("http://", "nothing follows"),
            ("file:///nosuch", "no such file"),
            ("file://server/etc/passwd", "server"),
        ] {
            let failure = Subject::check(OsStr::new(given)).unwrap_err();
            assert!(failure.to_string().contains(part), "{failure}");
            assert_eq!(failure.exit, 1);
        }
        assert_eq!(Subject::check(OsStr::new("HTTPS://a/b")).unwrap(), Subject::Url("https://a/b".into()));
    }
}
