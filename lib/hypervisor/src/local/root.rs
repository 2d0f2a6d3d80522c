//! The file system a qube sees.

use super::etc::{self, HOST_ETC};
use super::failure::Failure;
use super::init::write_programs;
use super::layout::{self, Layout};
use super::mountinfo;
use super::spec::{Isolation, Spec};
use super::supervisor::HostUser;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Directories of the machine with programs and what they need. `nix` and `gnu` hold them on NixOS and Guix.
pub(super) const SYSTEM: [&str; 10] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix", "gnu"];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What of /proc the owner could change for the whole machine (sysctl, sysrq, interrupts, buses).
const MACHINE_WIDE: [&str; 6] = ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"];

const PROGRAMS: &str = "/run/qubes/programs";

/// Builds the root in a tmpfs and makes it ours. To be called in a mount namespace of our own, by the first process of the
/// pid namespace, since its `/proc` shows the namespace of whoever mounts it.
pub(super) fn enter(spec: &Spec, host: HostUser) -> Result<(), Failure> {
    let root = Root::create(spec)?;
    root.add_system()?;
    root.add_etc(host)?;
    root.add_own_directories()?;
    root.add_devices()?;
    root.add_kernel_views(host)?;
    root.add_programs()?;
    for wanted in &spec.mounts {
        root.add_mount(&wanted.source, &wanted.target)?;
    }
    root.enter()?;
    seal(spec)
}

struct Root<'a> {
    spec: &'a Spec,
    path: PathBuf,
}

impl<'a> Root<'a> {
    fn create(spec: &'a Spec) -> Result<Self, Failure> {
        let path = spec.directory.join("root");
        make_directory(&path, 0o755)?;
        // What we mount must not show on the machine.
        change("/".as_ref(), MsFlags::MS_PRIVATE | MsFlags::MS_REC)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount_new("tmpfs", &path, flags, "mode=755,size=64m")?;
        Ok(Self { spec, path })
    }

    fn add_system(&self) -> Result<(), Failure> {
        for name in SYSTEM {
            let source = Path::new("/").join(name);
            let target = self.path.join(name);
            match fs::symlink_metadata(&source) {
                Ok(found) if found.is_symlink() => {
                    fs::read_link(&source)
                        .and_then(|to| symlink(to, &target))
                        .map_err(|e| cannot_create(&target, e))?;
                }
                Ok(found) if found.is_dir() => {
                    make_directory(&target, 0o755)?;
                    bind(&source, &target)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add_etc(&self, host: HostUser) -> Result<(), Failure> {
        let (etc, bound) = (self.path.join("etc"), self.path.join(HOST_ETC));
        let empty = self.path.join("var/empty");
        for directory in [&etc, &bound, &empty] {
            make_directory(directory, 0o755)?;
        }
        etc::fill(self.spec, &etc)?;
        bind("/etc".as_ref(), &bound)?;
        for (path, is_directory) in etc::secrets(host) {
            bind(if is_directory { &empty } else { Path::new("/dev/null") }, &bound.join(path))?;
        }
        Ok(())
    }

    fn add_own_directories(&self) -> Result<(), Failure> {
        let own = |name: &str, mode: u32, inside: &str| {
            let (source, target) = (self.spec.directory.join(name), self.inside(inside));
            make_directory(&source, mode)?;
            make_directory(&target, 0o755)?;
            bind(&source, &target)
        };
        own(layout::PRIVATE, 0o700, &format!("/home/{}", self.spec.user))?;
        own(layout::TMP, 0o1777, "/tmp")?;
        own(layout::VAR_TMP, 0o1777, "/var/tmp")?;
        let run = self.inside("/run");
        make_directory(&run, 0o755)?;
        mount_new("tmpfs", &run, MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755,size=64m")?;
        for (directory, mode) in [
            ("/run/lock", 0o755),
            (layout::RUNTIME_DIRECTORY, 0o700),
            ("/var/lib", 0o755),
            ("/var/log", 0o755),
        ] {
            make_directory(&self.inside(directory), mode)?;
        }
        self.link("../run", "/var/run")?;
        self.link("../run/lock", "/var/lock")
    }

    fn add_devices(&self) -> Result<(), Failure> {
        make_directory(&self.inside("/dev"), 0o755)?;
        for device in DEVICES {
            let (source, target) = (Path::new("/dev").join(device), self.inside("/dev").join(device));
            if source.exists() {
                make_file(&target)?;
                bind(&source, &target)?;
            }
        }
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let (pts, shm) = (self.inside("/dev/pts"), self.inside("/dev/shm"));
        make_directory(&pts, 0o755)?;
        make_directory(&shm, 0o755)?;
        // Where it is refused, terminals are missing and nothing else.
        let _ = mount_new("devpts", &pts, quiet, "newinstance,ptmxmode=0666,mode=620");
        mount_new("tmpfs", &shm, quiet | MsFlags::MS_NODEV, "mode=1777")?;
        for (name, to) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            self.link(to, &format!("/dev/{name}"))?;
        }
        Ok(())
    }

    /// Mounted before the machine's root goes: the kernel grants both only to those who already see them in full.
    fn add_kernel_views(&self, host: HostUser) -> Result<(), Failure> {
        let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let (proc, sys) = (self.inside("/proc"), self.inside("/sys"));
        make_directory(&proc, 0o555)?;
        make_directory(&sys, 0o555)?;
        mount_new("proc", &proc, quiet, "")?;
        // A qube that owns what is root's must not change the machine by it. Others keep an uncovered /proc, without
        // which sandboxes inside of the qube could not mount theirs.
        if host == HostUser::Root {
            for name in MACHINE_WIDE {
                let path = proc.join(name);
                if path.exists() {
                    bind(&path, &path)?;
                }
            }
        }
        // Where it is refused, /sys is empty.
        let _ = mount_new("sysfs", &sys, quiet | MsFlags::MS_RDONLY, "");
        Ok(())
    }

    fn add_programs(&self) -> Result<(), Failure> {
        let programs = self.inside(PROGRAMS);
        for directory in [layout::PROGRAM_DIRECTORY, layout::SERVICE_DIRECTORY, layout::CONFIG_DIRECTORY] {
            make_directory(&self.inside(directory), 0o755)?;
        }
        make_file(&programs)?;
        self.bind_wanted(&self.spec.programs, &programs)?;
        let layout = Layout::new(self.spec, Isolation::Namespaces);
        write_programs(self.spec, &layout, &self.path, PROGRAMS.as_ref())
    }

    fn add_mount(&self, source: &Path, target: &Path) -> Result<(), Failure> {
        let target = self.inside(target);
        let found = fs::metadata(source).map_err(|error| Failure::broken("cannot find", source, error))?;
        if found.is_dir() {
            make_directory(&target, 0o755)?;
        } else {
            make_directory(target.parent().unwrap_or(&self.path), 0o755)?;
            make_file(&target)?;
        }
        self.bind_wanted(source, &target)
    }

    /// A source that is missing is the caller's mistake, and no reason to go on without namespaces.
    fn bind_wanted(&self, source: &Path, target: &Path) -> Result<(), Failure> {
        fs::metadata(source).map_err(|error| Failure::broken("cannot find", source, error))?;
        bind(source, target)
    }

    /// Exchanges the machine's root for ours. Both at one place: the machine's is then on top, and goes at once.
    fn enter(self) -> Result<(), Failure> {
        let refused = |error| Failure::refused("cannot make it the root:", &self.path, error);
        chdir(&self.path).map_err(refused)?;
        pivot_root(".", ".").map_err(refused)?;
        umount2(".", MntFlags::MNT_DETACH).map_err(refused)?;
        chdir("/").map_err(refused)
    }

    fn inside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn link(&self, to: &str, path: &str) -> Result<(), Failure> {
        let path = self.inside(path);
        symlink(to, &path).map_err(|error| cannot_create(&path, error))
    }
}

/// Takes from every mount what the qube is not to have. Done last, when the table holds nothing but the qube's mounts.
fn seal(spec: &Spec) -> Result<(), Failure> {
    let table = "/proc/self/mountinfo";
    let mounts = fs::read(table).map_err(|error| Failure::refused("cannot read", table, error))?;
    let rules = rules(spec);
    for entry in mountinfo::parse(mounts) {
        let rule = rules
            .iter()
            .filter(|(below, _)| entry.point.starts_with(below))
            .max_by_key(|(below, _)| below.components().count());
        let read_only = match rule.map(|(_, rule)| rule) {
            Some(Rule::AsItIs) => continue,
            Some(Rule::Writable) => MsFlags::empty(),
            Some(Rule::ReadOnly) | None => MsFlags::MS_RDONLY,
        };
        // Flags that the mount had in the machine's namespace are locked: a change that leaves one out is refused.
        let kept = entry.options.iter().fold(MsFlags::empty(), |flags, option| flags | locked_flag(option));
        let own = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        change(&entry.point, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | kept | own | read_only)?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    AsItIs,
    Writable,
    ReadOnly,
}

/// Which rule holds at and below which path; the deepest one counts.
fn rules(spec: &Spec) -> Vec<(PathBuf, Rule)> {
    let rule = |path: &str, rule| (PathBuf::from(path), rule);
    let mut rules = vec![
        rule("/", Rule::ReadOnly),
        rule("/dev", Rule::AsItIs),
        rule("/proc", Rule::AsItIs),
        rule("/run", Rule::AsItIs),
        rule(PROGRAMS, Rule::ReadOnly),
        rule(&format!("/home/{}", spec.user), Rule::Writable),
        rule("/tmp", Rule::Writable),
        rule("/var/tmp", Rule::Writable),
    ];
    rules.extend(MACHINE_WIDE.iter().map(|name| rule(&format!("/proc/{name}"), Rule::ReadOnly)));
    rules.extend(
        spec.mounts.iter().map(|mount| {
            (mount.target.clone(), if mount.writable { Rule::Writable } else { Rule::ReadOnly })
        }),
    );
    rules
}

/// Flags about access times are not named here: a change that names none keeps them (mount(2)).
fn locked_flag(option: &str) -> MsFlags {
    match option {
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        _ => MsFlags::empty(),
    }
}

/// With all that is mounted below: a part of it alone may not be bound by those who did not mount it.
fn bind(source: &Path, target: &Path) -> Result<(), Failure> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|error| Failure::refused("cannot bind", source, error))
}

fn change(target: &Path, flags: MsFlags) -> Result<(), Failure> {
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .map_err(|error| Failure::refused("cannot change the mount", target, error))
}

fn mount_new(kind: &str, target: &Path, flags: MsFlags, options: &str) -> Result<(), Failure> {
    mount(Some(kind), target, Some(kind), flags, Some(options))
        .map_err(|error| Failure::refused(&format!("cannot mount {kind} at"), target, error))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), Failure> {
    let missing = !path.exists();
    DirBuilder::new()
        .recursive(true)
        .mode(mode & 0o777)
        .create(path)
        .map_err(|error| cannot_create(path, error))?;
    if missing && mode > 0o777 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| cannot_create(path, error))?;
    }
    Ok(())
}

fn make_file(path: &Path) -> Result<(), Failure> {
    File::options().create(true).append(true).open(path).map(drop).map_err(|error| cannot_create(path, error))
}

fn cannot_create(path: &Path, error: io::Error) -> Failure {
    Failure::broken("cannot create", path, error)
}
