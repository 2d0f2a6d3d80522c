//! What Xen says, in our words. Pure.

use super::Memory;
use crate::{DomainInfo, HypervisorError};
use names::{DomId, QubeName, Uuid};
use nix::errno::Errno;

/// A domain as Xen describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) domid: DomId,
    pub(super) uuid: Uuid,
    pub(super) paused: bool,
    pub(super) dying: bool,
    /// It has ended by itself and waits for its toolstack.
    pub(super) shutdown: bool,
    pub(super) memory: Memory,
}

impl State {
    pub(super) fn info(self, name: QubeName) -> DomainInfo {
        let Self { domid, uuid, paused, dying, shutdown, .. } = self;
        DomainInfo { domid, uuid, name, paused, dying: dying || shutdown }
    }
}

/// The calls about one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Info,
    Pause,
    Unpause,
    Destroy,
    SetMemory,
}

impl Step {
    fn words(self) -> &'static str {
        match self {
            Self::Info => "cannot ask Xen about",
            Self::Pause => "cannot pause",
            Self::Unpause => "cannot unpause",
            Self::Destroy => "cannot destroy",
            Self::SetMemory => "cannot set the memory of",
        }
    }
}

/// Why a call failed.
pub(super) fn failure(step: Step, domid: DomId, errno: Errno) -> HypervisorError {
    match (step, errno) {
        (_, Errno::ESRCH) => HypervisorError::NoSuchDomain(domid),
        // Xen counts pauses and will not count below none.
        (Step::Unpause, Errno::EINVAL) => HypervisorError::NotPaused(domid),
        _ => refusal(errno).unwrap_or_else(|| HypervisorError::Io {
            step: step.words(),
            object: format!("domain {domid}"),
            source: errno.into(),
        }),
    }
}

/// A refusal that has nothing to do with the domain.
pub(super) fn refusal(errno: Errno) -> Option<HypervisorError> {
    let text = match errno {
        // Xen compares the version of its interface first, and answers a wrong one with this.
        Errno::EACCES => {
            "Xen does not take this program's calls (EACCES): it was built for another version of Xen than the one that \
             runs, or Xen's security policy forbids them; build it against the libxen-dev of this machine"
        }
        Errno::EPERM => "Xen takes such calls from dom0 only (EPERM): run this in dom0",
        Errno::ENOSYS | Errno::EOPNOTSUPP => {
            "Xen does not know the call: it is another version of Xen than this program was built for; build it against \
             the libxen-dev of this machine"
        }
        _ => return None,
    };
    Some(HypervisorError::Unavailable(text.into()))
}

/// Why Xen could not be reached at all.
pub(super) fn unreachable(errno: Errno) -> HypervisorError {
    let remedy = match errno {
        Errno::ENOENT | Errno::ENODEV | Errno::ENXIO => {
            "no Xen here, or its module is missing: run this in dom0 of a Xen machine, after `modprobe xen-privcmd`"
        }
        Errno::EACCES | Errno::EPERM => {
            "this user may not open /dev/xen/privcmd: run this as root, or as a user whom a udev rule gives that device"
        }
        _ => "see `xl info` and the kernel's log",
    };
    HypervisorError::Unavailable(format!("cannot open Xen's privileged interface ({errno}): {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> DomId {
        7u32.try_into().unwrap()
    }

    #[test]
    fn each_errno_has_its_meaning_by_the_call() {
        assert!(matches!(
            failure(Step::Unpause, id(), Errno::EINVAL),
            HypervisorError::NotPaused(domid) if domid == id()
        ));
        assert!(matches!(failure(Step::Pause, id(), Errno::EINVAL), HypervisorError::Io { .. }));
        for step in [Step::Info, Step::Pause, Step::Unpause, Step::Destroy, Step::SetMemory] {
            assert!(
                matches!(failure(step, id(), Errno::ESRCH), HypervisorError::NoSuchDomain(_)),
                "{step:?}"
            );
        }
        let HypervisorError::Io { source, .. } = failure(Step::Destroy, id(), Errno::EBUSY) else { panic!() };
        assert_eq!(source.raw_os_error(), Some(Errno::EBUSY as i32));
    }

    #[test]
    fn p9_every_refusal_names_its_remedy() {
        for (errno, remedy) in
            [(Errno::EACCES, "libxen-dev"), (Errno::EPERM, "dom0"), (Errno::ENOSYS, "libxen-dev")]
        {
            assert!(failure(Step::Pause, id(), errno).to_string().contains(remedy), "{errno}");
        }
        for (errno, remedy) in
            [(Errno::ENOENT, "modprobe xen-privcmd"), (Errno::EACCES, "as root"), (Errno::EIO, "xl info")]
        {
            assert!(unreachable(errno).to_string().contains(remedy), "{errno}");
        }
    }

    #[test]
    fn a_domain_that_has_shut_itself_down_will_never_run_again() {
        let state = State {
            domid: id(),
            uuid: Uuid::DOM0,
            paused: false,
            dying: false,
            shutdown: true,
            memory: Memory { current: 0, maximum: 0 },
        };
        assert!(state.info("a".parse().unwrap()).dying);
    }
}
