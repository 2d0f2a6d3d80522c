//! The freezer of a qube: a control group of its own, v2 or v1.

use super::mountinfo;
use super::spec::Pausing;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, access};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// A control group with a freezer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    version: Version,
    path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Cgroup {
    /// Where a new group of this name could be, best first. Nothing is created.
    pub(super) fn candidates(pausing: Pausing, name: &str) -> Vec<Self> {
        let read = |path| fs::read(path).unwrap_or_default();
        let own = read("/proc/self/cgroup");
        let parents = parents(read("/proc/self/mountinfo"), &String::from_utf8_lossy(&own));
        parents
            .into_iter()
            .filter(|parent| pausing == Pausing::Auto || parent.pausing() == pausing)
            .filter(|parent| access(&parent.path, AccessFlags::W_OK).is_ok())
            .map(|parent| Self { path: parent.path.join(name), ..parent })
            .collect()
    }

    /// A group as written in a record; `None` when `pausing` names none.
    pub(super) fn named(pausing: &str, path: PathBuf) -> Option<Self> {
        let version = match Pausing::from_text(pausing)? {
            Pausing::CgroupV2 => Version::V2,
            Pausing::CgroupV1 => Version::V1,
            Pausing::Auto | Pausing::Signals => return None,
        };
        Some(Self { version, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn pausing(&self) -> Pausing {
        match self.version {
            Version::V1 => Pausing::CgroupV1,
            Version::V2 => Pausing::CgroupV2,
        }
    }

    /// Makes the group; an error also when this kernel's groups have no freezer.
    pub(super) fn create(&self) -> io::Result<()> {
        fs::create_dir(&self.path)?;
        let checked = access(&self.path.join(self.control()), AccessFlags::W_OK)
            .and_then(|()| access(&self.path.join("cgroup.procs"), AccessFlags::W_OK));
        if let Err(error) = checked {
            let _ = fs::remove_dir(&self.path);
            return Err(error.into());
        }
        Ok(())
    }

    /// Puts a process into the group.
    pub(super) fn add(&self, pid: i32) -> io::Result<()> {
        self.write("cgroup.procs", pid.to_string().as_bytes())
    }

    /// Whether nothing of it runs.
    pub(super) fn stands_still(&self) -> io::Result<bool> {
        match self.version {
            Version::V2 => {
                let events = fs::read_to_string(self.path.join("cgroup.events"))?;
                Ok(events.lines().any(|line| line == "frozen 1"))
            }
            Version::V1 => Ok(fs::read_to_string(self.path.join(self.control()))?.trim_end() == "FROZEN"),
        }
    }

    /// Whether all of it is stopped, or on its way there.
    pub(super) fn is_frozen(&self) -> io::Result<bool> {
        fs::read(self.path.join(self.control())).map(|state| is_frozen(&state))
    }

    /// Stops all of it, and waits until nothing runs. Tells whether that was so before the deadline.
    pub(super) fn freeze(&self, deadline: Instant) -> io::Result<bool> {
        match self.version {
            Version::V2 => {
                let events = File::open(self.path.join("cgroup.events"))?;
                self.write(self.control(), b"1")?;
                wait_for_event(events, "frozen 1", deadline)
            }
            Version::V1 => self.freeze_v1(deadline),
        }
    }

    /// Without an event to wait for: each read makes the kernel look again. A process that was forked in the moment of the
    /// freezing may have been missed, and is told anew by writing again; now and then only a thaw sets that right.
    fn freeze_v1(&self, deadline: Instant) -> io::Result<bool> {
        let mut pause = Duration::from_micros(20);
        for round in 1u32.. {
            self.write(self.control(), b"FROZEN")?;
            if fs::read_to_string(self.path.join(self.control()))?.trim_end() == "FROZEN" {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(2));
            if round % 20 == 0 {
                self.thaw()?;
            }
        }
        Ok(false)
    }

    /// Lets a stopped group run; tells whether it was one. On the way of every hand-over: one file, four system calls.
    pub(super) fn wake(&self) -> io::Result<bool> {
        let mut control = File::options().read(true).write(true).open(self.path.join(self.control()))?;
        let mut state = [0; 16];
        let length = control.read(&mut state)?;
        if !is_frozen(state.get(..length).unwrap_or_default()) {
            return Ok(false);
        }
        control.rewind()?;
        control.write_all(self.thawed())?;
        Ok(true)
    }

    pub(super) fn thaw(&self) -> io::Result<()> {
        self.write(self.control(), self.thawed())
    }

    fn thawed(&self) -> &'static [u8] {
        match self.version {
            Version::V1 => b"THAWED",
            Version::V2 => b"0",
        }
    }

    /// Kills every process in it. One round: what was just forking may be left, and wants another round.
    pub(super) fn kill(&self) {
        if self.write("cgroup.kill", b"1").is_ok() {
            return;
        }
        // Frozen processes cannot fork; of v1 they die only when thawed again.
        let _ = self.freeze(Instant::now() + Duration::from_millis(100));
        for pid in self.processes() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.thaw();
    }

    /// Whether no process is left, in groups within neither.
    pub(super) fn is_empty(&self) -> bool {
        match (self.version, fs::read_to_string(self.path.join("cgroup.events"))) {
            (Version::V2, Ok(events)) => events.lines().any(|line| line == "populated 0"),
            _ => self.processes().is_empty(),
        }
    }

    /// Removes the group and groups that the qube has made within. One that is not there is no error.
    pub(super) fn remove(&self) -> io::Result<()> {
        match remove_tree(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn processes(&self) -> Vec<i32> {
        fs::read_to_string(self.path.join("cgroup.procs"))
            .map(|text| text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid > 0).collect())
            .unwrap_or_default()
    }

    fn control(&self) -> &'static str {
        match self.version {
            Version::V1 => "freezer.state",
            Version::V2 => "cgroup.freeze",
        }
    }

    fn write(&self, file: &str, value: &[u8]) -> io::Result<()> {
        File::options().write(true).open(self.path.join(file))?.write_all(value)
    }
}

fn is_frozen(state: &[u8]) -> bool {
    matches!(state.trim_ascii_end(), b"1" | b"FROZEN" | b"FREEZING")
}

/// The directories of our own control groups that could hold a freezer: v2, then v1.
fn parents(mountinfo: impl AsRef<[u8]>, own: &str) -> Vec<Cgroup> {
    let mounts = mountinfo::parse(mountinfo);
    let find = |version, kind: &str, option: Option<&str>, own: Option<&str>| {
        // A group outside of our view of the hierarchy is shown with "..".
        let own = Path::new(own?);
        if own.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let mount = mounts.iter().rfind(|mount| {
            mount.kind == kind && option.is_none_or(|option| mount.super_options.iter().any(|o| o == option))
        })?;
        // In a container the mount may show only a part of the hierarchy.
        let below = own.strip_prefix(&mount.root).ok()?;
        Some(Cgroup { version, path: mount.point.join(below) })
    };
    let v2 = own.lines().find_map(|line| line.strip_prefix("0::"));
    let v1 = own.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|controller| controller == "freezer").then_some(path)
    });
    let v2 = find(Version::V2, "cgroup2", None, v2);
    let v1 = find(Version::V1, "cgroup", Some("freezer"), v1);
    v2.into_iter().chain(v1).collect()
}

/// Waits until cgroup.events has the line; the kernel announces changes of the file by POLLPRI. It holds an announcement
/// back for 10 ms when the last one is that recent, so the first looks do not rely on it.
fn wait_for_event(mut events: File, line: &str, deadline: Instant) -> io::Result<bool> {
    let mut look_again = Duration::from_micros(50);
    loop {
        let mut text = String::new();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|found| found == line) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let time = TimeSpec::from_duration(left.min(look_again));
        look_again *= 2;
        match ppoll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], Some(time), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        // A group with groups in it: the files in its directory cannot be removed and need not be.
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            for entry in fs::read_dir(path)?.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove_tree(&entry.path())?;
                }
            }
            fs::remove_dir(path)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn own_groups_are_found_in_both_versions() {
        let found = parents(MOUNTS, "9:name=systemd:/s\n6:cpu,freezer:/f\n0::/user.slice/x\n");
        let paths: Vec<_> =
            found.iter().map(|cgroup| (cgroup.version, cgroup.path.to_str().unwrap())).collect();
        assert_eq!(
            paths,
            [(Version::V2, "/sys/fs/cgroup/unified/user.slice/x"), (Version::V1, "/sys/fs/cgroup/freezer/f")]
        );
    }

    #[test]
    fn a_part_of_the_hierarchy_and_none_at_all() {
        let part = "30 1 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(parents(part, "0::/docker/abc/y\n")[0].path, PathBuf::from("/sys/fs/cgroup/y"));
        assert!(parents(part, "0::/other\n").is_empty());
        assert!(parents(MOUNTS, "0::/../other\n").is_empty());
        assert!(parents("", "0::/\n").is_empty());
        assert!(parents(MOUNTS, "").is_empty());
    }
}
