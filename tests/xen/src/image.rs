//! What dom0 and its guests boot from: archives, made anew for each run (it takes a second).

use crate::archive::Archive;
use crate::choice::Choice;
use crate::error::LabError;
use crate::packages::Packages;
use crate::programs::Programs;
use crate::run::output;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files for the boot loader, side by side in one directory.
pub(crate) struct Images {
    pub(crate) directory: PathBuf,
}

impl Images {
    pub(crate) fn build(
        cache: &Path,
        packages: &Packages,
        programs: &Programs,
        choice: &Choice,
    ) -> Result<Self, LabError> {
        let directory = cache.join("images");
        fs::create_dir_all(&directory).map_err(LabError::file("create", &directory))?;
        for name in [XEN, KERNEL] {
            let (from, to) = (packages.path(&format!("boot/{name}")), directory.join(name));
            fs::copy(&from, &to).map_err(LabError::file("copy", &from))?;
        }
        let (guest, dom0) = (directory.join("guest.cpio"), directory.join(DOM0));
        // As docs/xen.md has it done.
        let mut make = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../host/xen-base"));
        output(
            "make the guests' base",
            make.arg("--root").arg(packages.path("")).arg(&guest).arg(&packages.release),
        )?;

        // dom0 is the same with more behind it, where a later file takes the place of an earlier one.
        fs::copy(&guest, &dom0).map_err(LabError::file("copy", &guest))?;
        let mut archive = Archive::append(&dom0)?;
        script(&mut archive, "/init", include_bytes!("../dom0/init"))?;
        tools(&mut archive, packages)?;
        archive.file("/boot/vmlinux", &packages.path("boot/vmlinux"))?;
        archive.file("/boot/guest.cpio", &guest)?;
        for (inside, path) in &programs.files {
            archive.file(inside, path)?;
        }
        archive.directory("/lab", 0o755)?;
        archive.bytes("/lab/suites", 0o644, programs.suites().as_bytes())?;
        archive.bytes("/lab/choice", 0o644, choice.to_string().as_bytes())?;
        archive.finish()?;
        Ok(Self { directory })
    }
}

/// Names in the directory of the images.
pub(crate) const XEN: &str = "xen";
pub(crate) const KERNEL: &str = "vmlinux";
pub(crate) const DOM0: &str = "dom0.cpio";

fn script<W: Write>(archive: &mut Archive<W>, name: &str, content: &[u8]) -> Result<(), LabError> {
    archive.bytes(name, 0o755, content)
}

/// Xen's programs and every library that they might want.
fn tools<W: Write>(archive: &mut Archive<W>, packages: &Packages) -> Result<(), LabError> {
    // What Debian has in /usr/sbin are scripts that choose among versions of Xen.
    for name in ["xl", "xenstored", "xenconsoled", "xen-init-dom0", "xenconsole"] {
        archive
            .file(&format!("/usr/sbin/{name}"), &packages.path(&format!("usr/lib/xen-4.17/bin/{name}")))?;
    }
    archive.link("/usr/lib/xen-4.17/bin/xenconsole", b"/usr/sbin/xenconsole").ok();
    for name in [
        "xenstore-list",
        "xenstore-ls",
        "xenstore-read",
        "xenstore-write",
        "xenstore-rm",
        "xenstore-exists",
        "xenstore-watch",
        "strace",
    ] {
        archive.file(&format!("/usr/bin/{name}"), &packages.path(&format!("usr/bin/{name}")))?;
    }
    archive.directory("etc/xen", 0o755)?;
    archive.bytes("etc/xen/xl.conf", 0o644, b"")?;
    archive.directory("lib64", 0o755)?;
    archive.link("lib64/ld-linux-x86-64.so.2", b"/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")?;
    for place in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
        let path = packages.path(place);
        let mut names = fs::read_dir(&path)
            .map_err(LabError::file("list", &path))?
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains(".so"))
            .map(|entry| entry.path())
            .collect::<Vec<_>>();
        names.sort();
        for library in names {
            // A link to a library is replaced by what it leads to: a few copies more, no order to mind.
            let name =
                library.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            archive.file(&format!("/{place}/{name}"), &library)?;
        }
    }
    Ok(())
}
