//! Archives in the form that a kernel unpacks at its start: cpio, "newc" (Linux, Documentation/driver-api/early-userspace/
//! buffer-format.rst). Several may follow each other, each at a multiple of four bytes; the later wins. Pure.

/// An archive that grows in memory.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    last_inode: u32,
}

impl Archive {
    /// A directory that anybody may enter. Those above it must have been added before, or be in an earlier archive.
    pub(super) fn directory(&mut self, path: &str) {
        self.entry(path, 0o040_755, &[]);
    }

    /// A file that anybody may read and execute.
    pub(super) fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, 0o100_755, content);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.entry(path, 0o120_777, target.as_bytes());
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.last_inode += 1;
        let path = path.trim_start_matches('/');
        // More than a field holds would be an executable of 4 GiB.
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        // inode, mode, uid, gid, links, time, size, device (4 fields), length of the name with its zero, checksum
        let fields =
            [self.last_inode, mode, 0, 0, 1, 0, length(content.len()), 0, 0, 0, 0, length(path.len() + 1), 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_the_end_is_marked() {
        let mut archive = Archive::default();
        archive.directory("/a");
        archive.program("/a/b", b"hello");
        archive.link("/a/c", "b");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches("070701").count(), 4);
        // 6 + 13 * 8 is the head; "a/b" and its zero fill it up to a multiple of four: then the content.
        let file = text.find("a/b\0").unwrap();
        assert_eq!(&text[file + 6..file + 11], "hello", "{file}");
        assert!(text.contains("000081ED") && text.contains("0000A1FF"));
        assert!(text.contains("TRAILER!!!\0"));
    }
}
