//! qubes.OpenURL: opens a link that another qube sent (spec/open-file.md, section 3; S20).

use super::application::{OpenWith, Output};
use super::failure::{Failure, OwnFailure, exit_code_of};
use super::holders::Holders;
use super::session::Session;
use crate::say::say;
use crate::url::{LONGEST_URL, Url, UrlError};
use std::ffi::OsStr;
use std::fmt::{self, Display, Formatter};
use std::io;

const PROGRAM: &str = "qubes.OpenURL";

/// The whole service; the result is its exit code.
pub(crate) fn main() -> u8 {
    exit_code_of(PROGRAM, serve)
}

fn serve() -> Result<u8, Failure<OpenError>> {
    let session = Session::new().map_err(Failure::System)?;
    let open_with = OpenWith::from_environment()?;
    let line = receive_line(&session)?;
    let url = Url::parse(trimmed(&line)).map_err(OpenError::Url)?;
    say(PROGRAM, &format_args!("opening a link with {open_with}"));
    if nix::sys::prctl::set_child_subreaper(true).is_err() {
        // Without it, daemons of the application are found by the URL in their arguments alone.
    }
    let holders = Holders::of_url(url.as_str());
    let application = open_with.start(OsStr::new(url.as_str()), Output::Nowhere)?;
    let ended = application.wait(&session, &holders, &|| false, &|_| {})?;
    say(PROGRAM, &ended);
    Ok(ended.code())
}

/// The first line, or all there is; never more than a URL may be long and a little. What follows is not looked at.
fn receive_line(session: &Session) -> Result<Vec<u8>, Failure<OpenError>> {
    let mut line = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = session.read(&mut buffer)?.map_err(OpenError::Read)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        let end = bytes.iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(bytes.get(..end.unwrap_or(count)).unwrap_or_default());
        if line.len() > LONGEST_URL {
            return Err(OpenError::Url(UrlError::TooLong).into());
        }
        if end.is_some() || count == 0 {
            return Ok(line);
        }
    }
}

pub(crate) fn trimmed(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let begin = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(byte)).map_or(begin, |last| last + 1);
    line.get(begin..end).unwrap_or_default()
}

/// Why a link was not opened.
#[derive(Debug)]
enum OpenError {
    Read(io::Error),
    Url(UrlError),
}

impl OwnFailure for OpenError {}

impl Display for OpenError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(cause) => write!(f, "cannot read the URL from the call: {cause}"),
            Self::Url(error) => write!(f, "Invalid URL: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_a_url_go() {
        for (line, url) in [("", ""), (" \t ", ""), ("a", "a"), (" a b\t", "a b"), ("a\r", "a\r")] {
            assert_eq!(trimmed(line.as_bytes()), url.as_bytes(), "{line:?}");
        }
    }
}
