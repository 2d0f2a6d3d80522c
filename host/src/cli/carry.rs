//! Carries a file into the calling qube and back, where a qube is a machine of its own and sees no directory of this one.

use super::exec::{self, Streams};
use super::failure::Failure;
use crate::Layout;
use names::QubeName;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts the content of `directory/name` into `inside/name` of the qube.
pub(super) fn bring(
    layout: &Layout,
    qube: &QubeName,
    directory: &Path,
    inside: &str,
    name: &OsStr,
) -> Result<(), Failure> {
    let path = directory.join(name);
    let failed =
        |error: &dyn std::fmt::Display| Failure::trouble("carry into the qube", path.display(), error);
    let input = File::open(&path).map_err(|error| failed(&error))?;
    let streams = Streams {
        input: Some(input.into()),
        output: nowhere().map_err(|error| failed(&error))?,
        errors: own_errors().map_err(|error| failed(&error))?,
    };
    let script = format!("mkdir -p {inside} && cat > \"{inside}/$0\"");
    let words: [OsString; 4] = ["sh".into(), "-c".into(), script.into(), name.into()];
    match exec::run(layout, qube, &words, streams)? {
        0 => Ok(()),
        code => Err(failed(&format!("exit code {code}"))),
    }
}

/// Puts what `inside/name` of the qube is now in the place of `directory/name`, if it differs: beside it first, whole,
/// then by rename (promise P12).
pub(super) fn fetch(
    layout: &Layout,
    qube: &QubeName,
    directory: &Path,
    inside: &str,
    name: &OsStr,
) -> Result<(), Failure> {
    let path = directory.join(name);
    let failed = |error: &dyn std::fmt::Display| Failure::trouble("carry back", path.display(), error);
    let beside = directory.join(format!(".qubes-host-{}", std::process::id()));
    let output = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let streams = Streams {
        input: None,
        output: output.map_err(|error| failed(&error))?.into(),
        errors: own_errors().map_err(|error| failed(&error))?,
    };
    let mut from = OsString::from(format!("{inside}/"));
    from.push(name);
    let words: [OsString; 3] = ["cat".into(), "--".into(), from];
    let result = match exec::run(layout, qube, &words, streams) {
        Ok(0) => replace(&path, &beside).map_err(|error| failed(&error)),
        Ok(code) => Err(failed(&format!("exit code {code}"))),
        Err(failure) => Err(failure),
    };
    // Gone after a rename.
    drop(fs::remove_file(&beside));
    result
}

fn replace(path: &Path, beside: &Path) -> io::Result<()> {
    if is_same(path, beside)? {
        return Ok(());
    }
    fs::set_permissions(beside, fs::metadata(path)?.permissions())?;
    fs::rename(beside, path)
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(File::open(one)?), BufReader::new(File::open(other)?));
    let (mut here, mut there) = (vec![0; 65536], vec![0; 65536]);
    loop {
        let count = one.read(&mut here)?;
        if count == 0 {
            return Ok(true);
        }
        let there = there.get_mut(..count).unwrap_or_default();
        other.read_exact(there)?;
        if here.get(..count) != Some(&*there) {
            return Ok(false);
        }
    }
}

fn nowhere() -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().write(true).open("/dev/null")?.into())
}

fn own_errors() -> io::Result<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn p12_an_unchanged_file_stays_and_a_changed_one_keeps_its_mode() {
        let top = tempfile::tempdir().unwrap();
        let (path, beside) = (top.path().join("a"), top.path().join("b"));
        let long = vec![7u8; 200_000];
        fs::write(&path, &long).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        fs::write(&beside, &long).unwrap();
        replace(&path, &beside).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
        let mut changed = long;
        changed[199_999] = 8;
        fs::write(&beside, &changed).unwrap();
        replace(&path, &beside).unwrap();
        assert!(fs::read(&path).unwrap() == changed && !beside.exists());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    }
}
