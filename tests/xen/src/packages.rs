//! Fetches Debian's Xen, kernel and busybox through apt, and unpacks them without installing anything.

use crate::error::LabError;
use crate::kernel;
use crate::run::{REMEDY, output};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's files, unpacked.
pub(crate) struct Packages {
    root: PathBuf,
    /// Release of the kernel, as in `/lib/modules`.
    pub(crate) release: String,
}

impl Packages {
    /// Fetches what is not in the cache, or no longer what apt offers.
    pub(crate) fn fetch(cache: &Path) -> Result<Self, LabError> {
        let root = cache.join("debian");
        let stamp = root.join("complete");
        let have = fs::read_to_string(&stamp).ok();
        let wanted = match (resolve(), &have) {
            (Ok(wanted), _) => wanted,
            (Err(error), Some(_)) => {
                eprintln!("xen-lab: {error}: going on with the packages of the last time");
                return Self::open(root);
            }
            (Err(error), None) => return Err(error),
        };
        let list = wanted.join("\n");
        if have.as_deref() != Some(&list) {
            unpack(cache, &root, &list)?;
        }
        Self::open(root)
    }

    fn open(root: PathBuf) -> Result<Self, LabError> {
        let modules = root.join("lib/modules");
        let release = fs::read_dir(&modules)
            .map_err(LabError::file("list", &modules))?
            .flatten()
            .find_map(|entry| entry.file_name().into_string().ok())
            .ok_or_else(|| LabError::Content { object: modules.display().to_string(), rule: "no kernel" })?;
        Ok(Self { root, release })
    }

    /// Where an unpacked file is; `name` without a slash in front.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Files that apt would fetch now, by the lists it has; without lists they are fetched first.
fn resolve() -> Result<Vec<String>, LabError> {
    uris().or_else(|error| {
        if matches!(error, LabError::Missing { .. }) {
            return Err(error);
        }
        output("fetch apt's lists", Command::new("apt-get").args(["-q", "update"]))
            .and_then(|_| uris())
            .map_err(|error| LabError::Missing {
                what: format!("apt offers no packages ({error})"),
                remedy: REMEDY,
            })
    })
}

fn uris() -> Result<Vec<String>, LabError> {
    let kernel = kernel_package()?;
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "--print-uris", "download", &kernel]).args(PACKAGES);
    let text = String::from_utf8_lossy(&output("resolve the packages", &mut apt)?).into_owned();
    // 'https://…' NAME SIZE SHA256:…
    let lines = text.lines().filter(|line| line.starts_with('\''));
    let names = lines.filter_map(|line| Some(line.split(' ').nth(1)?.to_owned())).collect::<Vec<_>>();
    if names.len() == PACKAGES.len() + 1 {
        Ok(names)
    } else {
        Err(LabError::Content { object: "apt's answer".to_owned(), rule: "not one file for each package" })
    }
}

/// The package that the newest kernel is in: its name changes with each release.
fn kernel_package() -> Result<String, LabError> {
    let mut apt = Command::new("apt-cache");
    let text = output("ask for the kernel", apt.args(["depends", "linux-image-amd64"]))?;
    String::from_utf8_lossy(&text)
        .lines()
        .find_map(|line| Some(line.trim().strip_prefix("Depends: ")?.to_owned()))
        .ok_or_else(|| LabError::Content {
            object: "linux-image-amd64".to_owned(),
            rule: "depends on no kernel",
        })
}

fn unpack(cache: &Path, root: &Path, list: &str) -> Result<(), LabError> {
    let (files, fresh) = (cache.join("fetched"), cache.join("debian.new"));
    for directory in [&files, &fresh, &root.to_owned()] {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(LabError::file("remove", directory))?;
        }
    }
    for directory in [&files, &fresh] {
        fs::create_dir_all(directory).map_err(LabError::file("create", directory))?;
    }
    eprintln!("xen-lab: fetching {} packages (80 MB)", PACKAGES.len() + 1);
    let mut apt = Command::new("apt-get");
    // The sandbox user of apt cannot write here, which it would say at length.
    apt.current_dir(&files).args(["-q", "-o", "APT::Sandbox::User=root", "download", &kernel_package()?]);
    output("fetch the packages", apt.args(PACKAGES))?;
    for entry in fs::read_dir(&files).map_err(LabError::file("list", &files))?.flatten() {
        output("unpack", Command::new("dpkg").arg("-x").args([entry.path(), fresh.clone()]))?;
    }
    fs::remove_dir_all(&files).map_err(LabError::file("remove", &files))?;
    let release = Packages::open(fresh.clone())?.release;
    kernel::unpack(&fresh.join(format!("boot/vmlinuz-{release}")), &fresh.join("boot/vmlinux"))?;
    let hypervisor = fresh.join("boot/xen-4.17-amd64.gz");
    let elf = output("unpack Xen", Command::new("gzip").arg("-dc").arg(hypervisor))?;
    fs::write(fresh.join("boot/xen"), elf).map_err(LabError::file("write", &fresh))?;
    fs::write(fresh.join("complete"), list).map_err(LabError::file("write", &fresh))?;
    fs::rename(&fresh, root).map_err(LabError::file("rename", &fresh))
}

const PACKAGES: &[&str] = &[
    "busybox-static",
    "libc6",
    "libfdt1",
    "libgcc-s1",
    "liblzma5",
    "libnl-3-200",
    "libnl-route-3-200",
    "libuuid1",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenmisc4.17",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libzstd1",
    "strace",
    "libunwind8",
    "xen-hypervisor-4.17-amd64",
    "xen-utils-4.17",
    "xenstore-utils",
    "zlib1g",
];
