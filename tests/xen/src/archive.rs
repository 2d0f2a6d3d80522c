//! Writes the archive format of Linux' initramfs ("newc" cpio), so that no root and no loop device is needed. The kernel
//! unpacks archives that stand one behind the other (Documentation/driver-api/early-userspace/buffer-format.rst).

use crate::error::LabError;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// An archive in the making. Everything in it belongs to root.
pub(crate) struct Archive<W: Write> {
    out: W,
    inode: u32,
}

impl Archive<BufWriter<File>> {
    /// One behind the archive that is at `path`.
    pub(crate) fn append(path: &Path) -> Result<Self, LabError> {
        let file = File::options().append(true).open(path).map_err(LabError::file("open", path))?;
        Ok(Self::new(BufWriter::with_capacity(1 << 20, file)))
    }
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    pub(crate) fn directory(&mut self, name: &str, permissions: u32) -> Result<(), LabError> {
        self.entry(name, 0o040_000 | permissions, b"")
    }

    /// Every directory that leads to `name`.
    pub(crate) fn parents(&mut self, name: &str) -> Result<(), LabError> {
        for (at, _) in name.match_indices('/').filter(|(at, _)| *at > 0) {
            self.directory(&name[..at], 0o755)?;
        }
        Ok(())
    }

    pub(crate) fn link(&mut self, name: &str, target: &[u8]) -> Result<(), LabError> {
        self.entry(name, 0o120_777, target)
    }

    pub(crate) fn bytes(&mut self, name: &str, permissions: u32, content: &[u8]) -> Result<(), LabError> {
        self.entry(name, 0o100_000 | permissions, content)
    }

    /// A file with its parents, its content, and whether it may be executed.
    pub(crate) fn file(&mut self, name: &str, path: &Path) -> Result<(), LabError> {
        let content = fs::read(path).map_err(LabError::file("read", path))?;
        let metadata = fs::metadata(path).map_err(LabError::file("look at", path))?;
        self.parents(name)?;
        self.bytes(name, metadata.permissions().mode() & 0o755, &content)
    }

    /// Writes the end mark.
    pub(crate) fn finish(mut self) -> Result<W, LabError> {
        self.entry("TRAILER!!!", 0, b"")?;
        self.out.flush().map_err(written)?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), LabError> {
        // The kernel takes names relative to the root.
        let name = name.trim_start_matches('/');
        let length = u32::try_from(content.len())
            .map_err(|_| LabError::Content { object: name.to_owned(), rule: "too long for an archive" })?;
        let name_length = u32::try_from(name.len() + 1)
            .map_err(|_| LabError::Content { object: name.to_owned(), rule: "the name is too long" })?;
        self.inode += 1;
        let mut head = String::from("070701");
        let links = 1;
        for field in [self.inode, mode, 0, 0, links, 0, length, 0, 0, 0, 0, name_length, 0] {
            head.push_str(&format!("{field:08X}"));
        }
        head.push_str(name);
        head.push('\0');
        self.padded(head.as_bytes())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> Result<(), LabError> {
        self.out.write_all(bytes).map_err(written)?;
        let rest = bytes.len().wrapping_neg() % 4;
        self.out.write_all(&[0; 3][..rest]).map_err(written)
    }
}

fn written(source: io::Error) -> LabError {
    LabError::Io { step: "write", object: "an archive".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn heads_and_contents_start_at_multiples_of_four() {
        let mut archive = Archive::new(Vec::new());
        archive.bytes("/a", 0o644, b"12345").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(&bytes[..14], b"07070100000001");
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..120], b"12345\0\0\0");
        assert_eq!(&bytes[120..126], b"070701");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn parents_come_before_what_is_in_them() {
        let mut archive = Archive::new(Vec::new());
        archive.parents("/usr/lib/x").unwrap();
        let text = String::from_utf8(archive.finish().unwrap()).unwrap();
        assert!(text.find("usr\0").unwrap() < text.find("usr/lib\0").unwrap());
        assert!(!text.contains("usr/lib/x"));
    }
}
