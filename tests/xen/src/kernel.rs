//! Takes the kernel out of its compressed file: under emulation Xen and `xl create` would take seconds for that, each time.

use crate::error::LabError;
use crate::run::output;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Unpacks `vmlinuz` to `vmlinux`.
pub(crate) fn unpack(vmlinuz: &Path, vmlinux: &Path) -> Result<(), LabError> {
    let bytes = fs::read(vmlinuz).map_err(LabError::file("read", vmlinuz))?;
    let packed = payload(&bytes)
        .ok_or_else(|| LabError::Content { object: vmlinuz.display().to_string(), rule: "no bzImage" })?;
    let xz = vmlinux.with_extension("xz");
    // After the compressed stream comes its unpacked length, four bytes that xz would take for rubbish.
    let packed = &packed[..packed.len().saturating_sub(4)];
    fs::write(&xz, packed).map_err(LabError::file("write", &xz))?;
    let elf = output("unpack the kernel", Command::new("xz").args(["-dc", "--single-stream"]).arg(&xz))?;
    if !elf.starts_with(b"\x7fELF") {
        return Err(LabError::Content { object: vmlinuz.display().to_string(), rule: "holds no ELF kernel" });
    }
    fs::write(vmlinux, elf).map_err(LabError::file("write", vmlinux))?;
    fs::remove_file(&xz).map_err(LabError::file("remove", &xz))
}

/// The compressed kernel in a bzImage: Linux' Documentation/arch/x86/boot.rst, `payload_offset` and `payload_length`,
/// counted from the end of the real-mode part.
fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let word = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let sectors = match *image.get(0x1f1)? {
        0 => 4,
        number => usize::from(number),
    };
    let start = (sectors + 1) * 512 + word(0x248)?;
    image.get(start..start.checked_add(word(0x24c)?)?)
}

#[cfg(test)]
mod tests {
    use super::payload;

    #[test]
    fn the_payload_is_where_the_head_says() {
        let mut image = vec![0; 2048];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 16;
        image[0x24c] = 3;
        image[1024 + 16..1024 + 19].copy_from_slice(b"abc");
        assert_eq!(payload(&image), Some(&b"abc"[..]));
        image[0x24c..0x250].fill(0xff);
        assert_eq!(payload(&image), None);
        assert_eq!(payload(&image[..600]), None);
        assert_eq!(payload(b""), None);
    }
}
