//! Who gets the CPU first.
#![allow(unsafe_code)]

use std::io;

/// For work that nobody waits for: the calling thread, and every thread that it starts from now on, no longer takes the
/// CPU from a thread that runs (`SCHED_BATCH`, sched(7)) and gets about a tenth of it where others want it too.
///
/// A call is a chain of wake-ups. Whoever is woken beside it, for refill or for the story, would run on the CPU that the
/// call's next step needs.
///
/// Where that has been arranged already, by the unit of a service for example, nothing is asked of the kernel: the unit's
/// filter of system calls need not let it through.
pub fn let_others_go_first() {
    if is_batch() {
        return;
    }
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread; the parameters are read during the call and live longer.
    let batch = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
    tell_failure("SCHED_BATCH", batch);
    // SAFETY: only integers; 0 is the calling thread (setpriority(2): on Linux nice values are of threads).
    let nice = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    tell_failure("a nice value", nice);
}

/// The policy of the calling thread is field 41 of its stat file (proc(5)).
fn is_batch() -> bool {
    let stat = crate::read_small("/proc/thread-self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let policy = fields.and_then(|fields| fields.split_ascii_whitespace().nth(38));
    policy.and_then(|policy| policy.parse().ok()) == Some(libc::SCHED_BATCH)
}

/// Nothing depends on it but the speed of others.
fn tell_failure(what: &str, result: i32) {
    if result != 0 {
        log::debug!("setting {what} for a thread: {}", io::Error::last_os_error());
    }
}

/// A ninth of the weight of 0 (sched(7)).
const NICE: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_steps_back_and_others_stay() {
        let stat = |thread: i32| crate::read_small(format!("/proc/self/task/{thread}/stat")).unwrap();
        let nice_and_policy = move |thread: i32| {
            let stat = stat(thread);
            let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().collect();
            (fields[16].to_owned(), fields[38].to_owned())
        };
        let own = nix::unistd::gettid().as_raw();
        let before = nice_and_policy(own);
        let stepped_back = std::thread::spawn(move || {
            let_others_go_first();
            assert!(is_batch());
            let started = std::thread::spawn(move || nice_and_policy(nix::unistd::gettid().as_raw()));
            [nice_and_policy(nix::unistd::gettid().as_raw()), started.join().unwrap()]
        });
        let batch = ("10".to_owned(), libc::SCHED_BATCH.to_string());
        assert_eq!(stepped_back.join().unwrap(), [batch.clone(), batch]);
        assert!(!is_batch());
        assert_eq!(nice_and_policy(own), before);
    }
}
