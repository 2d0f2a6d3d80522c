//! URLs that may be opened in another qube, and `file:` URLs, which are paths.

use names::printable;
use std::fmt::{self, Display, Formatter};

/// The longest URL that is sent or accepted, in bytes.
pub(crate) const LONGEST_URL: usize = 4096;
const SCHEMES: &[&str] = &["http", "https", "ftp"];

/// An `http`, `https` or `ftp` URL: the scheme in lower case, no control character, not longer than [`LONGEST_URL`]
/// (spec/open-file.md, section 3; S20).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.len() > LONGEST_URL {
            return Err(UrlError::TooLong);
        }
        let text = std::str::from_utf8(text).map_err(|_| UrlError::Characters)?;
        if text.chars().any(char::is_control) {
            return Err(UrlError::Characters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let scheme = scheme.to_ascii_lowercase();
        if !SCHEMES.contains(&scheme.as_str()) {
            return Err(UrlError::Scheme(printable(scheme.as_bytes()).to_string()));
        }
        if rest.is_empty() {
            return Err(UrlError::NoAddress);
        }
        Ok(Self(format!("{scheme}://{rest}")))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no URL that may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UrlError {
    Empty,
    TooLong,
    Characters,
    NoScheme,
    Scheme(String),
    NoAddress,
}

impl Display for UrlError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it is longer than {LONGEST_URL} bytes"),
            Self::Characters => f.write_str("it holds control characters or bytes that are no UTF-8"),
            Self::NoScheme => f.write_str("it does not start with http://, https:// or ftp://"),
            Self::Scheme(scheme) => write!(f, "only http, https and ftp are opened, not {scheme}"),
            Self::NoAddress => f.write_str("nothing follows ://"),
        }
    }
}

/// Whether a word of a command line means a URL: a letter, then letters, digits and `+`, then `://`
/// (spec/open-file.md, section 1).
pub(crate) fn looks_like_url(word: &[u8]) -> bool {
    let scheme = word.iter().take_while(|&&b| b.is_ascii_alphanumeric() || b == b'+').count();
    word.first().is_some_and(u8::is_ascii_alphabetic)
        && word.get(scheme..).is_some_and(|rest| rest.starts_with(b"://"))
}

/// The path that a `file:` URL names; `None` when the text is no such URL (RFC 8089: `file:/PATH`, `file:///PATH` and
/// `file://localhost/PATH`).
pub(crate) fn file_url(text: &[u8]) -> Option<Result<Vec<u8>, FileUrlError>> {
    let (scheme, rest) = text.split_at_checked(b"file:".len())?;
    if !scheme.eq_ignore_ascii_case(b"file:") {
        return None;
    }
    let path = match rest.strip_prefix(b"//") {
        Some(rest) => {
            let slash = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
            let (host, path) = rest.split_at(slash);
            if !host.is_empty() && !host.eq_ignore_ascii_case(b"localhost") {
                return Some(Err(FileUrlError::Host(printable(host).to_string())));
            }
            path
        }
        None => rest,
    };
    if path.is_empty() && rest.starts_with(b"//") {
        return Some(Err(FileUrlError::NoPath));
    }
    path.starts_with(b"/").then(|| percent_decode(path))
}

fn percent_decode(text: &[u8]) -> Result<Vec<u8>, FileUrlError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(FileUrlError::Escape) };
        match u8::try_from(high << 4 | low) {
            Ok(0) | Err(_) => return Err(FileUrlError::Escape),
            Ok(byte) => decoded.push(byte),
        }
    }
    Ok(decoded)
}

/// A path as `file://` URL in the form that GLib gives to applications.
pub(crate) fn from_path(path: &[u8]) -> String {
    let mut text = String::from("file://");
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Why a `file:` URL names no path of this qube.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileUrlError {
    Host(String),
    Escape,
    NoPath,
}

impl Display for FileUrlError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => write!(f, "the file is on another machine, {host}"),
            Self::Escape => f.write_str("a \"%\" is not followed by two hexadecimal digits other than 00"),
            Self::NoPath => f.write_str("it holds no path"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s20_only_three_schemes() {
        assert_eq!(
            Url::parse(b"HTTPs://Example.org/A?b+(c[").unwrap().as_str(),
            "https://Example.org/A?b+(c["
        );
        assert_eq!(Url::parse(b"ftp://x").unwrap().as_str(), "ftp://x");
        for (bad, error) in [
            (&b""[..], UrlError::Empty),
            (b"http://", UrlError::NoAddress),
            (b"javascript://x", UrlError::Scheme("javascript".into())),
            (b"file:///etc/passwd", UrlError::Scheme("file".into())),
            (b"x http://y", UrlError::Scheme("x http".into())),
            (b"mailto:a@b", UrlError::NoScheme),
            (b"http://a\nb", UrlError::Characters),
            (b"http://a\x1b", UrlError::Characters),
            (b"http://\xc2\x85", UrlError::Characters),
            (b"http://\xff", UrlError::Characters),
            (&[b'h'; LONGEST_URL + 1], UrlError::TooLong),
        ] {
            assert_eq!(Url::parse(bad), Err(error));
        }
    }

    #[test]
    fn what_looks_like_a_url() {
        for yes in ["http://x", "git+ssh://x", "file:///x", "a://"] {
            assert!(looks_like_url(yes.as_bytes()), "{yes}");
        }
        for no in
            ["", "x", "/http://x", "1a://x", "a.b://x", "a-b://x", "mailto:x", "http:/x", "://x", "C:\\x"]
        {
            assert!(!looks_like_url(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn l4_file_urls_are_paths() {
        let path = |text: &str| file_url(text.as_bytes()).unwrap();
        assert_eq!(path("file:///a%20b/%C3%BC%25.txt"), Ok("/a b/\u{fc}%.txt".into()));
        assert_eq!(path("FILE://LocalHost/x"), Ok(b"/x".to_vec()));
        assert_eq!(path("file:/x"), Ok(b"/x".to_vec()));
        assert_eq!(path("file://server/x"), Err(FileUrlError::Host("server".into())));
        assert_eq!(path("file://"), Err(FileUrlError::NoPath));
        for bad in ["file:///%", "file:///%4", "file:///%zz", "file:///%+4", "file:///%00"] {
            assert_eq!(path(bad), Err(FileUrlError::Escape), "{bad}");
        }
        for none in ["file", "file:x", "files:///x", "http://x"] {
            assert_eq!(file_url(none.as_bytes()), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn paths_come_back(path in prop::collection::vec(1u8.., 0..40)) {
            let path = [b"/".to_vec(), path].concat();
            prop_assert_eq!(file_url(from_path(&path).as_bytes()), Some(Ok(path)));
        }

        #[test]
        fn s20_what_is_accepted_is_clean(text in "(?s)(http|HTTPS|ftp|file|x)?(://)?.{0,30}") {
            if let Ok(url) = Url::parse(text.as_bytes()) {
                let (scheme, _) = url.as_str().split_once("://").unwrap();
                prop_assert!(SCHEMES.contains(&scheme));
                prop_assert!(!url.as_str().chars().any(char::is_control));
                prop_assert_eq!(Url::parse(url.as_str().as_bytes()), Ok(url));
            }
        }
    }
}
