//! A process that has used up its descriptors. Alone in its process: the limit is for all of it.
#![allow(clippy::unwrap_used)]

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use os::process::{ProcessId, Stat};

/// A keeper that took its claimers for dead would destroy what they use.
#[test]
fn who_cannot_be_looked_at_counts_as_alive() {
    let own = ProcessId::own();
    let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
    let gone = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
    child.wait().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let (seen, is_alive) = (Stat::read(own.pid), own.is_alive());
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!((seen, is_alive), (None, true));
    assert!(!gone.is_alive());
}
