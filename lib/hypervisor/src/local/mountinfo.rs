//! The kernel's table of mounts (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountEntry {
    /// Which directory of the file system is mounted.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
    /// Options of the mount, for example `rw`, `nosuid`.
    pub(super) options: Vec<String>,
    /// Kind of file system.
    pub(super) kind: String,
    /// Options of the file system, for cgroup v1 among them the controllers.
    pub(super) super_options: Vec<String>,
}

/// All lines that are understood. Bytes, as the names of directories are.
pub(super) fn parse(table: impl AsRef<[u8]>) -> Vec<MountEntry> {
    table.as_ref().split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountEntry> {
    // Between the sixth field and the hyphen stands any number of optional fields.
    let hyphen = line.windows(3).position(|three| three == b" - ")?;
    let (mount, file_system) = (line.get(..hyphen)?, line.get(hyphen + 3..)?);
    let fields = |text: &'_ [u8]| text.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut mount = fields(mount).into_iter().skip(3);
    let (root, point, options) = (mount.next()?, mount.next()?, mount.next()?);
    let mut file_system = fields(file_system).into_iter();
    let (kind, super_options) = (file_system.next()?, file_system.nth(1)?);
    let list = |text: &[u8]| String::from_utf8_lossy(text).split(',').map(str::to_owned).collect();
    Some(MountEntry {
        root: unescape(&root),
        point: unescape(&point),
        options: list(&options),
        kind: String::from_utf8_lossy(&kind).into_owned(),
        super_options: list(&super_options),
    })
}

/// Blank, tab, line break and backslash are written as a backslash and three octal digits.
fn unescape(bytes: &[u8]) -> PathBuf {
    let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        match bytes.get(index + 1..index + 4).and_then(octal) {
            Some(value) if byte == b'\\' => {
                out.push(value);
                index += 4;
            }
            _ => {
                out.push(byte);
                index += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn lines_with_and_without_optional_fields() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n\
                    junk\n\
                    37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n";
        let entries = parse(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].point, PathBuf::from("/mnt 2"));
        assert_eq!(entries[0].options, ["rw", "noatime"]);
        assert_eq!((entries[1].kind.as_str(), &entries[1].super_options[1][..]), ("cgroup", "freezer"));
    }

    #[test]
    fn a_directory_of_any_name_hides_no_line() {
        let table = b"1 0 0:1 /a\xe9 /b\xe9\\040c rw - ext4 /dev/d rw\n2 0 0:2 / /d rw - tmpfs t rw\n";
        let entries = parse(table);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].point.as_os_str().as_encoded_bytes(), b"/b\xe9 c");
    }

    #[test]
    fn the_own_table_is_understood() {
        let entries = parse(std::fs::read("/proc/self/mountinfo").unwrap());
        assert!(entries.iter().any(|entry| entry.point == Path::new("/proc") && entry.kind == "proc"));
    }
}
