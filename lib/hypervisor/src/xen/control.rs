//! libxenctrl: the one place that calls it. No enum value is taken back from C: states come as flag words.
#![allow(unsafe_code)]

use super::Memory;
use super::state::{State, Step, failure, refusal, unreachable};
use crate::HypervisorError;
use names::{DomId, Uuid};
use nix::errno::Errno;
use std::fmt;
use std::ptr::{self, NonNull};
// Lets the linker find the library.
use xen_link as _;
use xenctrl_sys as c;

/// A handle on Xen's privileged interface. Closed when dropped. One caller at a time.
pub(super) struct Control {
    handle: NonNull<c::xc_interface>,
}

// SAFETY: the library keeps no state of a thread; a handle may move between threads, and `&mut self` in every call keeps
// it with one at a time.
unsafe impl Send for Control {}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl Control {
    pub(super) fn open() -> Result<Self, HypervisorError> {
        // A look first: the library would put its own words on stderr.
        if let Err(error) = std::fs::metadata(DEVICE) {
            return Err(unreachable(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))));
        }
        // SAFETY: both loggers may be null; the library then makes its own.
        let handle = unsafe { c::xc_interface_open(ptr::null_mut(), ptr::null_mut(), 0) };
        match NonNull::new(handle) {
            Some(handle) => Ok(Self { handle }),
            None => Err(unreachable(Errno::last())),
        }
    }

    /// The domain of this number; `None` when there is none.
    pub(super) fn domain(&mut self, domid: DomId) -> Result<Option<State>, HypervisorError> {
        Ok(self.domain_from(domid.get().into())?.filter(|state| state.domid == domid))
    }

    /// The domain with the lowest number from `first` on.
    pub(super) fn domain_from(&mut self, first: u32) -> Result<Option<State>, HypervisorError> {
        let mut found = c::xc_domaininfo_t::default();
        // SAFETY: the handle is open, and there is room for the one description that is asked for.
        let count = unsafe { c::xc_domain_getinfolist(self.handle.as_ptr(), first, 1, &raw mut found) };
        match count {
            0 => Ok(None),
            1.. => Ok(state(&found)),
            _ => {
                let domid = DomId::try_from(first).unwrap_or(DomId::DOM0);
                Err(failure(Step::Info, domid, Errno::last()))
            }
        }
    }

    /// Does to a domain what needs no more words than its number.
    pub(super) fn call(&mut self, step: Step, domid: DomId) -> Result<(), HypervisorError> {
        let call = match step {
            Step::Pause => c::xc_domain_pause,
            Step::Unpause => c::xc_domain_unpause,
            Step::Destroy => c::xc_domain_destroy,
            Step::Info | Step::SetMemory => return Err(failure(step, domid, Errno::EINVAL)),
        };
        // SAFETY: the handle is open; all three take it and a number.
        let result = unsafe { call(self.handle.as_ptr(), domid.get().into()) };
        if result == 0 { Ok(()) } else { Err(failure(step, domid, Errno::last())) }
    }

    pub(super) fn set_maximum(&mut self, domid: DomId, kib: u64) -> Result<(), HypervisorError> {
        // SAFETY: the handle is open.
        let result = unsafe { c::xc_domain_setmaxmem(self.handle.as_ptr(), domid.get().into(), kib) };
        if result == 0 { Ok(()) } else { Err(failure(Step::SetMemory, domid, Errno::last())) }
    }

    pub(super) fn free_memory(&mut self) -> Result<u64, HypervisorError> {
        let mut machine = c::xc_physinfo_t::default();
        // SAFETY: the handle is open, and there is room for the description.
        let result = unsafe { c::xc_physinfo(self.handle.as_ptr(), &raw mut machine) };
        if result == 0 {
            return Ok(machine.free_pages * PAGE);
        }
        let errno = Errno::last();
        Err(refusal(errno).unwrap_or_else(|| HypervisorError::Io {
            step: "cannot ask for the free memory of",
            object: "this machine".into(),
            source: errno.into(),
        }))
    }
}

/// `None` for a number that no domain of ours can have.
fn state(found: &c::xc_domaininfo_t) -> Option<State> {
    let has = |flag| found.flags & flag != 0;
    Some(State {
        domid: DomId::try_from(u32::from(found.domain)).ok()?,
        uuid: Uuid::from_bytes(found.handle),
        paused: has(c::XEN_DOMINF_paused),
        dying: has(c::XEN_DOMINF_dying),
        shutdown: has(c::XEN_DOMINF_shutdown),
        memory: Memory {
            current: found.tot_pages.saturating_mul(PAGE),
            maximum: found.max_pages.saturating_mul(PAGE),
        },
    })
}

impl Drop for Control {
    fn drop(&mut self) {
        // SAFETY: the handle came from the library and is used no more. What it returns helps nobody.
        unsafe {
            c::xc_interface_close(self.handle.as_ptr());
        }
    }
}

const DEVICE: &str = "/dev/xen/privcmd";
const PAGE: u64 = 4096;
