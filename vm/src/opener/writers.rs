//! Which program still has a file open to write it.

use nix::libc::{O_ACCMODE, O_RDONLY};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The name of a program that has the file at this path, which has no symlinks in it, open for writing; this process is
/// none. Programs of other users do not let us look.
pub(super) fn writer(path: &Path) -> Option<String> {
    let own = std::process::id().to_string();
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let is_another = pid != own && pid.bytes().all(|byte| byte.is_ascii_digit());
        (is_another && writes(&entry.path(), path)).then(|| {
            let name = fs::read(entry.path().join("comm")).unwrap_or_default();
            names::printable(name.trim_ascii_end()).to_string()
        })
    })
}

fn writes(process: &Path, path: &Path) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|descriptor| {
        let is_the_file = fs::read_link(descriptor.path())
            .is_ok_and(|target| target.as_os_str().as_bytes() == path.as_os_str().as_bytes());
        is_the_file
            && fs::read_to_string(process.join("fdinfo").join(descriptor.file_name()))
                .is_ok_and(|text| is_for_writing(&text))
    })
}

/// Reads the flags of a descriptor, which are in octal (proc(5), fdinfo).
fn is_for_writing(information: &str) -> bool {
    let flags = information.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| i32::from_str_radix(text.trim(), 8).ok());
    flags.is_some_and(|flags| flags & O_ACCMODE != O_RDONLY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::process::{Child, Command, Stdio};

    /// A process that does nothing for longer than any test waits, and ends with this.
    struct Sleeper(Child);

    impl Sleeper {
        fn start(output: Stdio, input: Stdio) -> Self {
            Self(Command::new("sleep").arg("1000").stdout(output).stdin(input).spawn().unwrap())
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn m35_who_writes_is_told_by_name() {
        let top = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(top.path()).unwrap().join("a");
        let file = File::create(&path).unwrap();
        // A child that any test starts has a copy of `file` until it has become its program.
        let settles = |what: &str, name: Option<&str>| {
            fixture::eventually(what, || writer(&path).as_deref() == name);
        };
        settles("this process does not count", None);
        let reads = Sleeper::start(Stdio::null(), File::open(&path).unwrap().into());
        settles("who reads does not count", None);
        let writes = Sleeper::start(file.into(), Stdio::null());
        settles("who writes is told by name", Some("sleep"));
        drop((reads, writes));
        settles("nobody is left", None);
    }
}
