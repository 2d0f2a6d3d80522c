//! Applications that run once and are told of a file by a short-lived program of their own, over a socket or a window
//! property (M37, M38): browsers, larger editors, office programs. What was started for the file ends at once, and the one
//! that runs need neither keep the file open nor have it in its command line.
//!
//! So we look which programs run for the file. Whoever ran before by the same program, or by one out of the same directory of
//! an application's own, may have been told: it holds the file until it ends, or until it has visibly closed it.

use super::holders::{all_pids, command_line, open_links};
use nix::unistd::getpid;
use os::process::ProcessId;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is known of other instances of the programs that were run for one file.
pub(super) struct Instances {
    /// Command line arguments that mean the file.
    arguments: Vec<Vec<u8>>,
    /// What LibreOffice puts beside a file as long as it is open.
    lock: PathBuf,
    programs: BTreeSet<Program>,
    others: Vec<Other>,
    open_since: Option<Instant>,
    /// An instance has had the file open for all to see: then its end is to be seen as well.
    shown: bool,
}

/// A program that was run with the file in its command line.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Program {
    executable: PathBuf,
    /// The argument before the file, if it is no option: an interpreter's script.
    script: Option<Vec<u8>>,
}

struct Other {
    process: ProcessId,
    name: String,
}

impl Instances {
    /// `arguments` are the ways to name the file in a command line.
    pub(super) fn new(file: &Path, arguments: &[Vec<u8>]) -> Self {
        let mut lock = OsString::from(".~lock.");
        lock.push(file.file_name().unwrap_or_default());
        lock.push("#");
        Self {
            arguments: arguments.to_vec(),
            lock: file.with_file_name(lock),
            programs: BTreeSet::new(),
            others: Vec::new(),
            open_since: None,
            shown: false,
        }
    }

    /// Takes in the command line that was started for the file: this one is known without a look.
    pub(super) fn runs(&mut self, words: &[OsString]) {
        let Some(program) = words.first().map(Path::new) else { return };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).map(|place| place.join(program));
        let mut places = places.filter(|place| program.components().count() == 1 && place.is_file());
        let place = places.next().unwrap_or_else(|| program.to_owned());
        if let Ok(executable) = fs::canonicalize(place) {
            let script =
                words.get(1).map(|word| word.as_bytes().to_vec()).filter(|word| !word.starts_with(b"-"));
            self.programs.insert(Program { executable, script });
        }
    }

    /// Looks at what runs below this process. To be called often while it does: what tells another instance lives for a moment.
    pub(super) fn look(&mut self) {
        children(getpid().as_raw()).into_iter().for_each(|pid| self.look_at(pid));
    }

    fn look_at(&mut self, pid: i32) {
        let line = command_line(pid);
        if line.iter().any(|word| self.arguments.contains(word)) {
            if let Ok(executable) = fs::read_link(format!("/proc/{pid}/exe")) {
                let is_script = |word: &&Vec<u8>| !word.starts_with(b"-") && !self.arguments.contains(word);
                let script = line.get(1).filter(is_script).cloned();
                self.programs.insert(Program { executable, script });
            }
        }
        children(pid).into_iter().for_each(|child| self.look_at(child));
    }

    /// The name of an application that may have the file, to be asked often once what was started has ended well. `open` are
    /// the pids of those that have it open, `own` gives those that are none.
    pub(super) fn first(&mut self, open: &[i32], own: &dyn Fn() -> Vec<i32>) -> Option<String> {
        if self.others.is_empty() && !self.programs.is_empty() {
            self.others = self.find(&own());
        }
        self.others.retain(|other| other.process.is_alive());
        let is_locked = fs::symlink_metadata(&self.lock).is_ok();
        let is_open = self.others.iter().any(|other| open.contains(&other.process.pid));
        // For a moment everybody has it open who reads or saves it.
        self.open_since = is_open.then(|| self.open_since.unwrap_or_else(Instant::now));
        self.shown |= is_locked || self.open_since.is_some_and(|since| since.elapsed() >= KEPT_OPEN);
        let has_it = !self.shown || is_locked || is_open;
        self.others.last().filter(|_| has_it).map(|other| other.name.clone())
    }

    fn find(&self, own: &[i32]) -> Vec<Other> {
        let Ok(user) = fs::metadata("/proc/self").map(|data| data.uid()) else { return Vec::new() };
        let mut listening = None;
        let other = |pid: i32| {
            let is_ours = fs::metadata(format!("/proc/{pid}")).is_ok_and(|data| data.uid() == user);
            let executable = fs::read_link(format!("/proc/{pid}/exe")).ok().filter(|_| is_ours)?;
            let is_same = |program: &Program| {
                program.executable == executable
                    && program.script.as_ref().is_none_or(|script| command_line(pid).get(1) == Some(script))
                    && is_one_of(pid, listening.get_or_insert_with(listening_sockets))
            };
            let is_kin = own_directory(&executable).is_some_and(|directory| {
                self.programs.iter().any(|program| own_directory(&program.executable) == Some(directory))
            });
            if !is_kin && !self.programs.iter().any(is_same) {
                return None;
            }
            let name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Some(Other { process: ProcessId::of(pid)?, name })
        };
        all_pids().into_iter().filter(|pid| !own.contains(pid)).filter_map(other).collect()
    }
}

/// The directory of an executable, unless programs of all kinds share it.
fn own_directory(executable: &Path) -> Option<&Path> {
    let directory = executable.parent()?;
    let name = directory.file_name()?.as_bytes();
    let is_shared = [&b"bin"[..], b"sbin", b"games", b"lib", b"lib64", b"libexec"].contains(&name)
        || name.ends_with(b"-linux-gnu");
    (!is_shared).then_some(directory)
}

/// The children of all threads; none on a kernel that does not list them.
fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// The links of listening sockets in `/proc/PID/fd` (proc(5): the fourth field has the flag of those that accept).
fn listening_sockets() -> BTreeSet<OsString> {
    let table = fs::read("/proc/net/unix").unwrap_or_default();
    let inode = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
        let flags = fields.nth(3)?;
        let inode = fields.nth(2)?;
        (flags == b"00010000").then(|| OsString::from_vec([b"socket:[", inode, b"]"].concat()))
    };
    table.split(|&byte| byte == b'\n').filter_map(inode).collect()
}

/// Whether the process has one of these sockets open.
fn is_one_of(pid: i32, sockets: &BTreeSet<OsString>) -> bool {
    open_links(pid).any(|link| sockets.contains::<OsStr>(link.as_os_str()))
}

/// Nobody reads or saves a file for so long.
const KEPT_OPEN: Duration = Duration::from_secs(2);
