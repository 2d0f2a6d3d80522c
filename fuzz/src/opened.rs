//! Both ends that receive an opened file: what a qube sends to a disposable, and what comes back.

use crate::mangle::mangle;
use crate::random::Random;
use crate::targets::show;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn file(random: &mut Random, corpus: &[Vec<u8>], is_shown: bool) {
    let bytes = mangle(random, corpus);
    show(is_shown, "open-file", &bytes);
    PLACE.with(|place| {
        let Ok(file) = vm::receiving::file(place.path(), &bytes) else {
            assert!(names(place.path()).is_empty(), "something was left behind");
            return;
        };
        assert!((1..=255).contains(&file.name.len()) && file.name != "." && file.name != "..");
        assert!(file.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte)));
        let directory = file.path.parent().unwrap_or(Path::new("/"));
        assert_eq!(directory.parent(), Some(place.path()), "it left its directory");
        assert_eq!(file.path.file_name().map(|name| name.as_encoded_bytes()), Some(file.name.as_bytes()));
        assert_eq!(Some(file.content.as_slice()), bytes.get(256..));
        assert!(names(place.path()).is_empty(), "something was left behind");
    });
}

pub(crate) fn url(random: &mut Random, corpus: &[Vec<u8>], is_shown: bool) {
    let line = mangle(random, corpus);
    show(is_shown, "open-url", &line);
    match vm::receiving::url(&line) {
        Ok(url) => {
            assert!(["http://", "https://", "ftp://"].iter().any(|scheme| url.starts_with(scheme)));
            assert!(url.len() <= 4096 && !url.chars().any(char::is_control));
            assert_eq!(vm::receiving::url(url.as_bytes()), Ok(url));
        }
        Err(error) => assert!(!error.contains('\n') && !error.contains('\x1b')),
    }
}

/// What the original holds before.
const OLD: &[u8] = b"the old text";
/// The reply that means "emptied"; in the corpus too.
const EMPTIED: [u8; 16] = *b"0123456789abcdef";

pub(crate) fn reply(random: &mut Random, corpus: &[Vec<u8>], is_shown: bool) {
    let bytes = mangle(random, corpus);
    let code = random.pick(&[0, 0, 0, 1, 126, 255]);
    show(is_shown, "open-reply", &bytes);
    let (one, rest) = bytes.split_at(random.below(bytes.len() + 1));
    let (two, three) = rest.split_at(random.below(rest.len() + 1));
    PLACE.with(|place| {
        let original = place.path().join("a");
        write(&original, OLD);
        let replaced = match vm::receiving::reply(&original, &[one, two, three], code, EMPTIED) {
            Ok(replaced) => replaced,
            Err(error) => panic!("the file cannot be opened: {error}"),
        };
        let edited: &[u8] = if bytes == EMPTIED { b"" } else { &bytes };
        assert_eq!(replaced, code == 0 && !bytes.is_empty(), "exit code {code}");
        assert!(
            read(&original) == if replaced { edited } else { OLD },
            "exit code {code}: neither old nor new"
        );
        let kept = place.path().join("a.edited");
        assert_eq!(kept.exists(), code != 0 && !bytes.is_empty(), "exit code {code}");
        if kept.exists() {
            assert!(read(&kept) == edited, "not what came");
        }
        for path in names(place.path()) {
            assert!(path == original || path == kept, "left behind: {}", path.display());
            drop(fs::remove_file(path));
        }
    });
}

fn names(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

fn write(path: &Path, bytes: &[u8]) {
    if let Err(error) = fs::write(path, bytes) {
        panic!("{}: {error}", path.display());
    }
}

fn read(path: &Path) -> Vec<u8> {
    match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn place() -> tempfile::TempDir {
    // In memory, where there is such a place: every reply is synced.
    match tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()) {
        Ok(place) => place,
        Err(error) => panic!("no directory to work in: {error}"),
    }
}

thread_local! {
    static PLACE: tempfile::TempDir = place();
}
