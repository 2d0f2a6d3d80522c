//! Replacement of bytes that could steer a terminal (spec/qrexec-wire.md 7.5).

/// Replaces each byte that is not printable ASCII, tab, newline, carriage return, backspace or bell by `_`.
pub(super) fn replace(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = REPLACED[usize::from(*byte)];
    }
}

/// What each byte becomes.
const REPLACED: [u8; 256] = {
    let mut replaced = [b'_'; 256];
    let mut byte = 0u8;
    while byte < 0x7f {
        if matches!(byte, 0x20..=0x7e | b'\t' | b'\n' | b'\r' | 0x08 | 0x07) {
            replaced[byte as usize] = byte;
        }
        byte += 1;
    }
    replaced
};

#[cfg(test)]
mod tests {
    #[test]
    fn p7_escapes_do_not_pass() {
        let mut bytes = *b"\x1b[31ma\tb\r\n\x07\x08\x7f\xc3\xa4\0~ ";
        super::replace(&mut bytes);
        assert_eq!(&bytes, b"_[31ma\tb\r\n\x07\x08____~ ");
        let mut all: Vec<u8> = (0..=255).collect();
        super::replace(&mut all);
        let once = all.clone();
        super::replace(&mut all);
        assert_eq!(all, once);
        assert_eq!(once.iter().filter(|byte| **byte == b'_').count(), 256 - 95 - 5 + 1);
    }
}
