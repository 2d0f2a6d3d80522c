//! All processes of a qube, found by descent from the first one; and how to stop them all by signals.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use os::process::{ProcessId, Stat};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A process at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    process: ProcessId,
    threads: Vec<(i32, char)>,
    children: Vec<i32>,
}

impl Member {
    fn is_stopped(&self) -> bool {
        self.threads.iter().all(|(_, state)| matches!(state, 'T' | 't' | 'Z' | 'X'))
    }

    fn is_ended(&self) -> bool {
        self.threads.iter().all(|(_, state)| matches!(state, 'Z' | 'X'))
    }
}

/// The living processes at and below `root`, parents before children. What is forked or orphaned meanwhile may be missing.
pub(super) fn members(root: ProcessId) -> Vec<ProcessId> {
    walk(root).into_iter().filter(|member| !member.is_ended()).map(|member| member.process).collect()
}

/// The children of a process.
pub(super) fn children(of: ProcessId) -> Vec<ProcessId> {
    let parents = children_where_not_listed();
    let member = look(of.pid, parents.as_ref()).filter(|member| member.process == of);
    member.into_iter().flat_map(|member| member.children).filter_map(ProcessId::of).collect()
}

/// Stops `root` and all below it; parents first, so that no parent sees its child stop. Tells whether all were stopped
/// before the deadline; if not, some are and some are not.
///
/// A child is told only when its parent has stopped: in vfork(2) a parent stops no sooner than its child has executed a
/// program, which a stopped child never does. One that sleeps uninterruptibly never counts as stopped: it may be in the
/// middle of fork(2) just as well, too far to be kept from it, and leave a child behind that nobody saw.
///
/// A process that forks while we look could leave a child behind that we did not see, or exit and so hand its child to
/// a process that we have already looked at. Therefore it is not over until two looks in a row show the same
/// processes, all stopped.
pub(super) fn stop(root: ProcessId, deadline: Instant) -> bool {
    let mut pause = Duration::from_micros(50);
    let mut sight = Sight::default();
    loop {
        let now = walk(root);
        for member in next_to_stop(&now) {
            signal(member, Signal::SIGSTOP);
        }
        match sight.judge(now) {
            Verdict::AllStopped => return true,
            Verdict::LookAgain => {}
            Verdict::Running => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(2));
            }
        }
        if Instant::now() >= deadline {
            return false;
        }
    }
}

/// The last look, if nothing ran in it.
#[derive(Debug, Default)]
struct Sight {
    before: Option<Vec<Member>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Some may run.
    Running,
    /// All seem stopped, for the first time.
    LookAgain,
    AllStopped,
}

impl Sight {
    fn judge(&mut self, now: Vec<Member>) -> Verdict {
        if !now.iter().all(Member::is_stopped) {
            self.before = None;
            return Verdict::Running;
        }
        if self.before.as_ref() == Some(&now) {
            return Verdict::AllStopped;
        }
        self.before = Some(now);
        Verdict::LookAgain
    }
}

/// Lets `root` and all below it run; children first and `root` last, so that `root` is stopped as long as any is.
pub(super) fn resume(root: ProcessId) {
    for member in walk(root).iter().rev() {
        signal(member, Signal::SIGCONT);
    }
}

/// Processes, wherever they descend from, in whose environment this setting is.
pub(super) fn marked(setting: &str) -> Vec<ProcessId> {
    let has_mark = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|found| found == setting.as_bytes())
    };
    numbers_in("/proc")
        .into_iter()
        .filter(has_mark)
        .filter_map(ProcessId::of)
        .filter(|process| process.is_alive())
        .collect()
}

fn walk(root: ProcessId) -> Vec<Member> {
    let parents = children_where_not_listed();
    let mut found: Vec<Member> =
        look(root.pid, parents.as_ref()).filter(|it| it.process == root).into_iter().collect();
    let mut next = 0;
    while let Some(member) = found.get(next) {
        let children: Vec<Member> =
            member.children.iter().filter_map(|&child| look(child, parents.as_ref())).collect();
        found.extend(children);
        next += 1;
    }
    found
}

/// The states are read before the children: the children of a thread that was already stopped are complete.
fn look(pid: i32, parents: Option<&HashMap<i32, Vec<i32>>>) -> Option<Member> {
    let process = ProcessId::of(pid)?;
    let mut threads = numbers_in(&format!("/proc/{pid}/task"));
    threads.sort_unstable();
    let states: Vec<(i32, char)> =
        threads.iter().filter_map(|&thread| Some((thread, Stat::read_thread(pid, thread)?.state))).collect();
    let children = match parents {
        Some(parents) => parents.get(&pid).cloned().unwrap_or_default(),
        None => threads.iter().flat_map(|&thread| children_of_thread(pid, thread)).collect(),
    };
    Some(Member { process, threads: states, children })
}

fn children_of_thread(pid: i32, thread: i32) -> Vec<i32> {
    fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"))
        .map(|text| text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
        .unwrap_or_default()
}

/// What `children_of_thread` cannot tell on kernels without CONFIG_PROC_CHILDREN.
fn children_where_not_listed() -> Option<HashMap<i32, Vec<i32>>> {
    (!Path::new("/proc/thread-self/children").exists()).then(children_by_parent)
}

fn children_by_parent() -> HashMap<i32, Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for pid in numbers_in("/proc") {
        if let Some(stat) = Stat::read(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    children
}

/// Those that run and whose parents, as far as they are seen, do not.
fn next_to_stop(members: &[Member]) -> Vec<&Member> {
    let running = || members.iter().filter(|member| !member.is_stopped());
    let below: HashSet<i32> = running().flat_map(|member| member.children.iter().copied()).collect();
    running().filter(|member| !below.contains(&member.process.pid)).collect()
}

fn signal(member: &Member, signal: Signal) {
    let _ = kill(Pid::from_raw(member.process.pid), signal);
}

fn numbers_in(directory: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(pid: i32, state: char, children: &[i32]) -> Member {
        Member {
            process: ProcessId { pid, start: 1 },
            threads: vec![(pid, state)],
            children: children.to_vec(),
        }
    }

    #[test]
    fn an_orphan_that_the_first_look_missed_is_stopped() {
        let mut sight = Sight::default();
        // 3 ended while we looked, after 1 and before itself had been looked at; its child 4 went to 1.
        assert_eq!(sight.judge(vec![member(1, 'T', &[3]), member(3, 'Z', &[])]), Verdict::LookAgain);
        let second = vec![member(1, 'T', &[3, 4]), member(3, 'Z', &[]), member(4, 'S', &[])];
        assert_eq!(sight.judge(second), Verdict::Running);
        let still = vec![member(1, 'T', &[3, 4]), member(3, 'Z', &[]), member(4, 'T', &[])];
        assert_eq!(sight.judge(still.clone()), Verdict::LookAgain);
        assert_eq!(sight.judge(still), Verdict::AllStopped);
    }

    #[test]
    fn a_child_is_stopped_after_its_parent() {
        let pids = |members: &[Member]| -> Vec<i32> {
            next_to_stop(members).into_iter().map(|member| member.process.pid).collect()
        };
        assert_eq!(pids(&[member(1, 'D', &[2]), member(2, 'S', &[3]), member(3, 'R', &[])]), [1]);
        assert_eq!(
            pids(&[member(1, 'T', &[2, 3]), member(2, 'S', &[4]), member(3, 'R', &[]), member(4, 'S', &[])]),
            [2, 3]
        );
        assert_eq!(
            pids(&[member(1, 'T', &[2]), member(2, 'Z', &[]), member(4, 'S', &[])]),
            [4],
            "whose parent just ended"
        );
    }

    #[test]
    fn one_that_may_be_in_the_middle_of_a_fork_runs() {
        let now = vec![member(1, 'D', &[2]), member(2, 'T', &[])];
        let mut sight = Sight::default();
        assert_eq!((sight.judge(now.clone()), sight.judge(now)), (Verdict::Running, Verdict::Running));
    }

    #[test]
    fn a_thread_beside_a_stopped_one_runs() {
        let mut process = member(1, 'T', &[]);
        process.threads.push((2, 'R'));
        assert_eq!(Sight::default().judge(vec![process]), Verdict::Running);
    }

    #[test]
    fn a_real_tree_is_stopped_and_resumed() {
        let script = "sh -c 'sleep 1000 & wait' & sleep 1000";
        let mut child = std::process::Command::new("/bin/sh").args(["-c", script]).spawn().unwrap();
        let root = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        let sleeps = |process: &ProcessId| {
            fs::read_to_string(format!("/proc/{}/comm", process.pid)).is_ok_and(|name| name == "sleep\n")
        };
        let all_run = || members(root).iter().filter(|process| sleeps(process)).count() == 2;
        fixture::eventually("both programs run", all_run);
        assert!(stop(root, Instant::now() + Duration::from_secs(20)));
        let tree = members(root);
        let stopped = |process: &ProcessId| Stat::read(process.pid).is_some_and(|stat| stat.state == 'T');
        assert!(tree.iter().all(stopped), "{tree:?}");
        resume(root);
        assert!(!tree.iter().any(stopped), "{tree:?}");
        for process in tree {
            process.open().unwrap().unwrap().signal(Signal::SIGKILL).unwrap();
        }
        child.wait().unwrap();
    }
}
