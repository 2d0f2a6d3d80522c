//! The `/etc` of a qube: the machine's, entry by entry, but for what is the qube's own or nobody's business.

use super::failure::Failure;
use super::init::USER_ID;
use super::spec::Spec;
use super::supervisor::HostUser;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Where the machine's `/etc` is bound. One level deep, so that its relative links lead where they did.
pub(super) const HOST_ETC: &str = "host-etc";

/// Entries of the machine that a qube does not get: it has its own, or they are about the machine's users and disks.
const NOT_LINKED: [&str; 19] = [
    "crypttab",
    "fstab",
    "group",
    "group-",
    "gshadow",
    "gshadow-",
    "hostname",
    "hosts",
    "machine-id",
    "passwd",
    "passwd-",
    "qubes",
    "qubes-rpc",
    "resolv.conf",
    "shadow",
    "shadow-",
    "subgid",
    "subuid",
    "sudoers",
];

/// Places below readable directories where machines keep secrets that root may read.
const SECRETS: [&str; 8] = [
    "NetworkManager/system-connections",
    "cups/ssl",
    "ipsec.d/private",
    "pki/tls/private",
    "polkit-1",
    "ssh",
    "ssl/private",
    "wireguard",
];

/// Fills `etc` with links into the bound `/etc` of the machine and with the qube's own files.
pub(super) fn fill(spec: &Spec, etc: &Path) -> Result<(), Failure> {
    let broken = |path: &Path, error| Failure::broken("cannot create", path, error);
    for entry in fs::read_dir("/etc").map_err(|error| broken(Path::new("/etc"), error))?.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| NOT_LINKED.contains(&name)) {
            continue;
        }
        // A link is repeated, so that it is resolved where it always was.
        let target =
            fs::read_link(entry.path()).unwrap_or_else(|_| Path::new("/").join(HOST_ETC).join(&name));
        let path = etc.join(&name);
        symlink(target, &path).map_err(|error| broken(&path, error))?;
    }
    for (name, content) in own_files(spec) {
        let path = etc.join(name);
        fs::write(&path, content).map_err(|error| broken(&path, error))?;
    }
    Ok(())
}

/// What of the machine's `/etc` must be covered (paths below it, and whether they are directories). Where the qube's
/// processes belong to the machine's root, what only root may read would be theirs to read.
pub(super) fn secrets(host: HostUser) -> Vec<(PathBuf, bool)> {
    if host == HostUser::Other {
        return Vec::new();
    }
    let top =
        fs::read_dir("/etc").into_iter().flatten().flatten().map(|entry| PathBuf::from(entry.file_name()));
    let hidden = top.filter(|name| {
        fs::symlink_metadata(Path::new("/etc").join(name))
            .is_ok_and(|it| !it.is_symlink() && it.mode() & 0o004 == 0)
    });
    let nested = SECRETS.iter().map(PathBuf::from);
    let kind = |path: PathBuf| {
        let found = fs::symlink_metadata(Path::new("/etc").join(&path)).ok()?;
        (!found.is_symlink()).then_some((path, found.is_dir()))
    };
    hidden.chain(nested).filter_map(kind).collect()
}

fn own_files(spec: &Spec) -> [(&'static str, String); 6] {
    let (user, name) = (&spec.user, &spec.name);
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let machine_id = spec.uuid.to_string().replace('-', "");
    [
        (
            "passwd",
            format!(
                "root:x:0:0:root:/:/bin/false\n{user}:x:{USER_ID}:{USER_ID}:{user}:/home/{user}:{shell}\n\
                 nobody:x:65534:65534:nobody:/:/bin/false\n"
            ),
        ),
        ("group", format!("root:x:0:\n{user}:x:{USER_ID}:\nnogroup:x:65534:\n")),
        ("hostname", format!("{name}\n")),
        ("hosts", format!("127.0.0.1 localhost {name}\n::1 localhost\n")),
        ("machine-id", format!("{machine_id}\n")),
        ("resolv.conf", String::new()),
    ]
}
