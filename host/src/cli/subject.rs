//! What is to be opened, checked before anything is started.

use super::failure::Failure;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

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
        if let Some(url) = given.to_str().filter(|text| looks_like_url(text)) {
            return Self::check_url(url);
        }
        let path = Path::new(given);
        let shown = names::printable(given.as_encoded_bytes());
        let failed =
            |cause: &dyn std::fmt::Display| Failure::subject(format!("cannot open \"{shown}\": {cause}"));
        let found = fs::metadata(path).map_err(|error| failed(&error))?;
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

    fn check_url(url: &str) -> Result<Self, Failure> {
        let scheme = url.split("://").next().unwrap_or_default().to_ascii_lowercase();
        match scheme.as_str() {
            "http" | "https" | "ftp" => Ok(Self::Url(url.to_owned())),
            "file" => Err(Failure::subject("a file:// URL names a file: give its path")),
            _ => Err(Failure::subject(format!(
                "cannot open \"{url}\": only http, https and ftp URLs are opened"
            ))),
        }
    }
}

/// A letter, then letters, digits or `+`, then `://` (spec/open-file.md, section 1); `.` and `-` too, which URLs allow.
fn looks_like_url(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_wrong_subject_is_told_apart() {
        for (given, part) in [
            ("/", "directory"),
            ("/nosuch", "No such file"),
            ("/dev/null", "regular file"),
            ("gopher://x", "only http"),
            ("file:///etc/passwd", "path"),
        ] {
            let failure = Subject::check(OsStr::new(given)).unwrap_err();
            assert!(failure.to_string().contains(part), "{failure}");
            assert_eq!(failure.exit, 1);
        }
        assert_eq!(Subject::check(OsStr::new("HTTPS://a/b")).unwrap(), Subject::Url("HTTPS://a/b".into()));
    }
}
