//! Both receiving ends without a call around them, for tests that give them mangled input: what they do with it on the disk
//! is what the programs do.

use crate::emptied::Emptied;
use crate::url::Url;
use std::io;
use std::path::{Path, PathBuf};

/// A file as qubes.OpenInVM has received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedFile {
    /// Its name, made of plain letters.
    pub name: String,
    /// Whether it is only to be looked at.
    pub view_only: bool,
    /// Where it was; it is gone with its directory.
    pub path: PathBuf,
    /// What was in it.
    pub content: Vec<u8>,
}

/// Takes a request of qubes.OpenInVM (spec/open-file.md, section 2) in a directory of its own below `place`.
///
/// # Errors
/// One sentence: the request names no file, or the file cannot be made.
pub fn file(place: &Path, request: &[u8]) -> Result<ReceivedFile, String> {
    let (name, view_only, path, content) = crate::service::open_in_vm::take_request(place, request)?;
    Ok(ReceivedFile { name, view_only, path, content })
}

/// Takes the line of a request of qubes.OpenURL (spec/open-file.md, section 3); the URL as it would be opened.
///
/// # Errors
/// One sentence: what is wrong with it.
pub fn url(line: &[u8]) -> Result<String, String> {
    match Url::parse(crate::service::open_url::trimmed(line)) {
        Ok(url) => Ok(url.as_str().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Takes a reply to a call for the file at `original`, in portions, as qvm-open-in-vm does when the call ends with `code`; the
/// reply `emptied` (16 hexadecimal digits) means that the file is empty now. Whether the file was replaced; what
/// is not put in its place is kept beside it. Reads the environment as the program does.
///
/// # Errors
/// The original cannot be opened, or `emptied` is no such word.
pub fn reply(original: &Path, portions: &[&[u8]], code: u8, emptied: [u8; 16]) -> io::Result<bool> {
    let emptied = Emptied::from_word(emptied).ok_or(io::ErrorKind::InvalidInput)?;
    crate::opener::take_reply(original, portions, code, emptied)
}
