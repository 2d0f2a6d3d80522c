//! Which processes still work on a file or URL after the application that was started for it has ended (M37).
//!
//! Names are compared byte by byte: no pattern, so `c++.txt` and `a(b[c` are names like any other.

use super::instances::Instances;
use super::takers::Takers;
use crate::url;
use nix::unistd::{Pid, getpgid, getpid};
use os::process::{ProcessId, Stat};
use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What to look for in other processes, and among the session's applications.
pub(super) struct Holders {
    /// Arguments that are equal to one of these count.
    arguments: Vec<Vec<u8>>,
    /// Open files below this directory, which ends in `/`, count.
    below: Option<Vec<u8>>,
    /// Processes that do not count.
    others: Vec<ProcessId>,
    takers: Option<RefCell<Takers>>,
    instances: Option<RefCell<Instances>>,
}

impl Holders {
    /// Processes that have the file in their command line, as path or as `file://` URL, or have anything open in the
    /// file's directory, which is the call's own: editors hold their swap or lock file rather than the file itself.
    /// Applications that are asked to open it from now on count as well.
    pub(super) fn of_file(file: &Path) -> Self {
        let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        let mut arguments = Vec::new();
        for path in [file, &real] {
            let path = path.as_os_str().as_bytes();
            arguments.push(path.to_vec());
            arguments.push(url::from_path(path).into_bytes());
        }
        let parent = real.parent();
        let below = parent.map(|directory| [directory.as_os_str().as_bytes(), b"/"].concat());
        // The directory's name is this call's alone.
        let sign = parent.and_then(Path::file_name).and_then(|name| name.to_str());
        let takers = sign.and_then(Takers::of_file).map(RefCell::new);
        let instances = Some(RefCell::new(Instances::new(&real, &arguments)));
        Self { arguments, below, others: Vec::new(), takers, instances }
    }

    /// Processes that have exactly this URL as an argument, and applications that are started for it, from now on: nothing of
    /// it comes back, so that a browser that runs already is not waited for, even if it was started for the same URL.
    pub(super) fn of_url(url: &str) -> Self {
        let takers = Takers::of_url(url).map(RefCell::new);
        let arguments = vec![url.as_bytes().to_vec()];
        let mut holders = Self { arguments, below: None, others: Vec::new(), takers, instances: None };
        holders.others = holders.scan().into_iter().filter_map(ProcessId::of).collect();
        holders
    }

    /// An application that has taken it over the session's bus.
    pub(super) fn taker(&self) -> Option<String> {
        self.takers.as_ref().and_then(|takers| takers.borrow_mut().first())
    }

    /// Takes in the command line that was started.
    pub(super) fn runs(&self, words: &[OsString]) {
        if let Some(instances) = &self.instances {
            instances.borrow_mut().runs(words);
        }
    }

    /// Looks at what was started, while it runs.
    pub(super) fn look(&self) {
        if let Some(instances) = &self.instances {
            instances.borrow_mut().look();
        }
    }

    /// An application that may have been told of the file by what was started and has ended well; `open` is from [`Self::scan`].
    pub(super) fn instance(&self, open: &[i32]) -> Option<String> {
        let own = || [own_line(), descendants()].concat();
        self.instances.as_ref().and_then(|instances| instances.borrow_mut().first(open, &own))
    }

    /// The pids of all holders, without this process and those that it runs under. Processes of other users that do not
    /// let us look are no holders.
    pub(super) fn scan(&self) -> Vec<i32> {
        let above = own_line();
        all_pids().into_iter().filter(|pid| !above.contains(pid) && self.is_holder(*pid)).collect()
    }

    fn is_holder(&self, pid: i32) -> bool {
        if self.others.iter().any(|other| other.pid == pid && other.is_alive()) {
            return false;
        }
        if command_line(pid).iter().any(|argument| self.arguments.contains(argument)) {
            return true;
        }
        let Some(below) = &self.below else { return false };
        open_links(pid).any(|target| target.as_os_str().as_bytes().starts_with(below))
    }
}

/// The arguments of a process; none of one that is gone.
pub(super) fn command_line(pid: i32) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

/// What the open descriptors of a process lead to; none of one that does not let us look.
pub(super) fn open_links(pid: i32) -> impl Iterator<Item = PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
}

/// Those of [`descendants`] that are in this process group.
pub(super) fn group(leader: i32) -> Vec<i32> {
    let is_in = |pid: &i32| getpgid(Some(Pid::from_raw(*pid))).is_ok_and(|group| group.as_raw() == leader);
    descendants().into_iter().filter(is_in).collect()
}

/// All living processes that descend from this one.
pub(super) fn descendants() -> Vec<i32> {
    let own = getpid().as_raw();
    let parents: Vec<(i32, i32)> = all_pids()
        .into_iter()
        .filter_map(|pid| Stat::read(pid).map(|stat| (pid, stat)))
        .filter(|(_, stat)| !matches!(stat.state, 'Z' | 'X'))
        .map(|(pid, stat)| (pid, stat.parent))
        .collect();
    let mut found = vec![own];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = parents.iter().filter(|&&(pid, above)| above == parent && pid != own);
        found.extend(children.map(|&(pid, _)| pid));
        next += 1;
    }
    found.split_off(1)
}

/// This process, its parent and so on.
fn own_line() -> Vec<i32> {
    let mut line = vec![getpid().as_raw()];
    while let Some(stat) = line.last().and_then(|&pid| Stat::read(pid)) {
        if stat.parent == 0 || line.contains(&stat.parent) {
            break;
        }
        line.push(stat.parent);
    }
    line
}

/// All processes that are to be seen.
pub(super) fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn running(arguments: &[&str], input: Stdio) -> Child {
        // The script keeps its arguments while it waits for its end, which comes after a minute at the latest.
        let script = "for i in $(seq 1200); do sleep 0.05; done";
        Command::new("/bin/sh").args(["-c", script, "sh"]).args(arguments).stdin(input).spawn().unwrap()
    }

    /// A process that is just being started shows no arguments for a moment, or those of its parent, whose files it has.
    fn await_arguments(pid: i32) {
        for _ in 0..10_000 {
            if fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|arguments| arguments.starts_with(b"/bin/sh"))
            {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    #[test]
    fn m37_exact_names_and_open_files_are_found() {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("c++ (1).txt");
        fs::write(&file, "x").unwrap();
        let holders = Holders::of_file(&file);
        assert_eq!(holders.scan(), [0; 0]);
        let path = file.to_str().unwrap();
        let swap = fs::File::create(top.path().join(".swp")).unwrap();
        let cases: [(&[&str], Stdio, bool); 5] = [
            (&[path], Stdio::null(), true),
            (&["-x", &url::from_path(path.as_bytes())], Stdio::null(), true),
            (&[&format!("{path}x"), &path[..path.len() - 1]], Stdio::null(), false),
            (&[], Stdio::from(fs::File::open(&file).unwrap()), true),
            (&[], Stdio::from(swap), true),
        ];
        for (arguments, input, holds) in cases {
            let mut child = running(arguments, input);
            let pid = i32::try_from(child.id()).unwrap();
            await_arguments(pid);
            assert_eq!(holders.scan().contains(&pid), holds, "{arguments:?}");
            assert!(descendants().contains(&pid));
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!descendants().contains(&pid));
        }
    }

    #[test]
    fn m37_urls_are_compared_as_they_are() {
        let url = "https://example.org/?q=(a+b[c";
        let (holders, other) = (Holders::of_url(url), Holders::of_url("https://example.org/"));
        let mut child = running(&[url], Stdio::null());
        let pid = i32::try_from(child.id()).unwrap();
        await_arguments(pid);
        assert!(holders.scan().contains(&pid));
        assert!(!other.scan().contains(&pid));
        assert!(!Holders::of_url(url).scan().contains(&pid), "it ran already");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
