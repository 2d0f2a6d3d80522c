//! What a word of the command line asks to open: a file or a URL.

use crate::shown::shown;
use crate::url::{FileUrlError, Url, UrlError, file_url, looks_like_url};
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display, Formatter};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// A file or a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A path, which need not exist.
    File(PathBuf),
    /// A URL that may be opened.
    Url(Url),
}

/// Decides by the text alone, as upstream does (spec/open-file.md, section 1); `file:` URLs become paths (L4).
///
/// # Errors
/// A URL that may not be opened, or a `file:` URL that is no path of this qube.
pub fn classify(word: &OsStr) -> Result<Subject, SubjectError> {
    let text = word.as_bytes();
    if let Some(path) = file_url(text) {
        let path =
            path.map_err(|cause| SubjectError { word: word.to_owned(), cause: Cause::FileUrl(cause) })?;
        return Ok(Subject::File(PathBuf::from(OsString::from_vec(path))));
    }
    if looks_like_url(text) {
        let url = Url::parse(text)
            .map_err(|cause| SubjectError { word: word.to_owned(), cause: Cause::Url(cause) })?;
        return Ok(Subject::Url(url));
    }
    Ok(Subject::File(PathBuf::from(word)))
}

/// What is said of a path at which there is nothing: `mailto:someone` is taken for a file name, and may have been meant
/// as a URL.
#[must_use]
pub fn absence(path: &OsStr) -> String {
    let nothing = "there is no such file";
    match other_scheme(path) {
        Some(scheme) => format!("{nothing}, and of URLs only http, https and ftp are opened, not {scheme}"),
        None => nothing.to_owned(),
    }
}

/// The scheme of a text such as `mailto:someone`.
fn other_scheme(path: &OsStr) -> Option<&str> {
    let text = path.to_str()?;
    let (scheme, _) = text.split_once(':')?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(allowed)).then_some(scheme)
}

/// Why a word names nothing that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectError {
    word: OsString,
    cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    Url(UrlError),
    FileUrl(FileUrlError),
}

impl Display for SubjectError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let word = shown(&self.word);
        match &self.cause {
            Cause::Url(cause) => write!(f, "cannot open the URL \"{word}\": {cause}"),
            Cause::FileUrl(cause) => write!(f, "cannot open \"{word}\": {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l4_words() {
        let file = |word: &str| Ok(Subject::File(PathBuf::from(word)));
        assert_eq!(classify(OsStr::new("file:///a%20b")), file("/a b"));
        assert_eq!(classify(OsStr::new("a b")), file("a b"));
        assert_eq!(classify(OsStr::new("./http://x")), file("./http://x"));
        assert_eq!(classify(OsStr::new("mailto:x")), file("mailto:x"));
        assert_eq!(classify(OsStr::new("HTTP://x")), Ok(Subject::Url(Url::parse(b"http://x").unwrap())));
        assert!(classify(OsStr::new("magnet://x")).is_err());
        assert!(classify(OsStr::new("file://host/x")).is_err());
        assert_eq!(other_scheme(OsStr::new("mailto:x")), Some("mailto"));
        assert_eq!(other_scheme(OsStr::new("a b:x")), None);
    }
}
