//! What must be there before a first domain can be made: looked for at once, so that it is said before anything is started.

use super::XenSettings;
use std::fs::File;
use std::path::Path;

/// What is missing, with the remedy; `None` when all is there.
pub(crate) fn missing(settings: &XenSettings) -> Option<String> {
    if cfg!(feature = "xen") {
        below(Path::new("/"), settings)
    } else {
        Some("this program was built without Xen: docs/xen.md says how to build one with it".to_owned())
    }
}

/// `top` is the machine's root directory.
fn below(top: &Path, settings: &XenSettings) -> Option<String> {
    for device in ["privcmd", "evtchn", "gntdev", "gntalloc"] {
        let path = top.join("dev/xen").join(device);
        if !path.exists() {
            return Some(format!(
                "there is no {}: if this is dom0 of a Xen machine, \"modprobe -a xen-privcmd xen-evtchn xen-gntdev xen-gntalloc\" makes it, once for each boot",
                path.display()
            ));
        }
    }
    if let Err(cause) = File::open(&settings.kernel) {
        return Some(format!(
            "cannot read the qubes' kernel {}: {cause}; name one: QUBES_XEN_KERNEL=/boot/vmlinuz-VERSION",
            settings.kernel.display()
        ));
    }
    if let Err(cause) = File::open(&settings.initramfs) {
        let path = settings.initramfs.display();
        return Some(format!(
            "cannot read the base of the qubes' roots {path}: {cause}; \"host/xen-base {path}\" makes it, or name another: \
             QUBES_XEN_INITRAMFS"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn p9_each_thing_that_is_missing_is_named_with_its_remedy() {
        let top = tempfile::tempdir().unwrap();
        let (kernel, initramfs) = (top.path().join("kernel"), top.path().join("base"));
        let settings = XenSettings {
            kernel: kernel.clone(),
            initramfs: initramfs.clone(),
            memory: 1,
            words: String::new(),
        };
        let said = || below(top.path(), &settings).unwrap();
        fs::create_dir_all(top.path().join("dev/xen")).unwrap();
        for device in ["privcmd", "evtchn", "gntdev", "gntalloc"] {
            assert!(
                said().contains(&format!("dev/xen/{device}")) && said().contains("modprobe"),
                "{}",
                said()
            );
            fs::write(top.path().join("dev/xen").join(device), "").unwrap();
        }
        assert!(said().contains("QUBES_XEN_KERNEL="), "{}", said());
        fs::write(kernel, "").unwrap();
        assert!(said().contains("host/xen-base"), "{}", said());
        fs::write(initramfs, "").unwrap();
        assert_eq!(below(top.path(), &settings), None);
    }
}
