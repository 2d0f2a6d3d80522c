//! libxenvchan: the one place that calls it. Its contract: spec/vchan.md, sections 1 and 2; declared after libxenvchan.h
//! of Xen 4.17.
#![allow(unsafe_code)]

use super::path;
use super::pump::{Moved, Ring};
use names::DomId;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use xenstore::Xenstore;
// Lets the linker find the library.
use xen_link as _;

/// `struct libxenvchan`; its fields are the library's.
#[repr(C)]
struct Opaque {
    _private: [u8; 0],
}

#[link(name = "xenvchan")]
unsafe extern "C" {
    fn libxenvchan_server_init(
        logger: *mut c_void,
        domain: c_int,
        path: *const c_char,
        read_min: usize,
        write_min: usize,
    ) -> *mut Opaque;
    fn libxenvchan_client_init(logger: *mut c_void, domain: c_int, path: *const c_char) -> *mut Opaque;
    fn libxenvchan_close(channel: *mut Opaque);
    fn libxenvchan_read(channel: *mut Opaque, data: *mut c_void, size: usize) -> c_int;
    fn libxenvchan_write(channel: *mut Opaque, data: *const c_void, size: usize) -> c_int;
    fn libxenvchan_wait(channel: *mut Opaque) -> c_int;
    fn libxenvchan_fd_for_select(channel: *mut Opaque) -> c_int;
    fn libxenvchan_is_open(channel: *mut Opaque) -> c_int;
    fn libxenvchan_data_ready(channel: *mut Opaque) -> c_int;
    fn libxenvchan_buffer_space(channel: *mut Opaque) -> c_int;
}

/// One end of a vchan. Closed when dropped. Nothing blocks: whether the library would is up to a field that it leaves as
/// it finds it in memory, so no more is ever asked of it than is there.
pub(super) struct Channel {
    channel: NonNull<Opaque>,
    peer: DomId,
    /// Asks whether the peer's domain lives; none while that cannot be asked.
    store: Option<Xenstore>,
}

// SAFETY: the library keeps no state of a thread; a handle may be used by any thread, by one at a time, and `Channel` is
// no `Sync`.
unsafe impl Send for Channel {}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.peer)
    }
}

impl Channel {
    /// A server for `peer` on `port`, named in xenstore.
    pub(super) fn serve(peer: DomId, port: u16) -> io::Result<Self> {
        let path = CString::new(path::of_server(peer, port))?;
        let size = path::ring_size(port);
        // SAFETY: the path is a string with a zero byte that lives longer than the call; no logger is allowed.
        let channel =
            unsafe { libxenvchan_server_init(ptr::null_mut(), peer.get().into(), path.as_ptr(), size, size) };
        Self::take(channel, peer, "cannot make a vchan server")
    }

    /// The client of the server whose names are at `path`.
    pub(super) fn join(peer: DomId, path: &str) -> io::Result<Self> {
        let path = CString::new(path)?;
        // SAFETY: as in `serve`.
        let channel = unsafe { libxenvchan_client_init(ptr::null_mut(), peer.get().into(), path.as_ptr()) };
        Self::take(channel, peer, "cannot join the vchan")
    }

    /// A connection to ask by whether the peer lives.
    pub(super) fn ask_by(&mut self, store: Xenstore) {
        self.store = Some(store);
    }

    fn take(channel: *mut Opaque, peer: DomId, step: &str) -> io::Result<Self> {
        let error = io::Error::last_os_error();
        let Some(channel) = NonNull::new(channel) else {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => {
                    "; load the modules xen-evtchn, xen-gntdev and xen-gntalloc, and mount xenfs"
                }
                io::ErrorKind::PermissionDenied => "; give this user the devices in /dev/xen",
                _ => "",
            };
            let text = format!("{step} with domain {peer}: {error}{remedy}");
            return Err(io::Error::new(error.kind(), text));
        };
        Ok(Self { channel, peer, store: None })
    }

    /// Whether a client has been here.
    pub(super) fn is_met(&self) -> bool {
        self.state() != WAITING
    }

    /// Bytes that can be read now; asks for an event when there are more.
    fn ready(&self) -> usize {
        // SAFETY: `channel` is open until `drop`.
        usize::try_from(unsafe { libxenvchan_data_ready(self.channel.as_ptr()) }).unwrap_or(0)
    }

    /// Bytes that can be written now; asks for an event when there is more room.
    fn space(&self) -> usize {
        // SAFETY: `channel` is open until `drop`.
        usize::try_from(unsafe { libxenvchan_buffer_space(self.channel.as_ptr()) }).unwrap_or(0)
    }

    fn state(&self) -> c_int {
        // SAFETY: `channel` is open until `drop`.
        unsafe { libxenvchan_is_open(self.channel.as_ptr()) }
    }

    fn moved(count: c_int) -> Moved {
        match usize::try_from(count) {
            Ok(0) => Moved::Wait,
            Ok(count) => Moved::Some(count),
            Err(_) => Moved::Closed,
        }
    }

    fn lives(&mut self) -> io::Result<bool> {
        if self.store.is_none() {
            self.store = Some(Xenstore::open()?);
        }
        self.store.as_mut().map_or(Ok(true), |store| store.is_introduced(self.peer))
    }
}

impl Ring for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> Moved {
        // In this order: what a peer wrote before it closed is seen.
        let is_closed = self.state() == CLOSED;
        let count = self.ready().min(buffer.len());
        if count == 0 {
            return if is_closed { Moved::Closed } else { Moved::Wait };
        }
        // SAFETY: the buffer is writable for `count` bytes, and the library writes no more than that.
        Self::moved(unsafe { libxenvchan_read(self.channel.as_ptr(), buffer.as_mut_ptr().cast(), count) })
    }

    fn write(&mut self, bytes: &[u8]) -> Moved {
        if self.state() == CLOSED {
            return Moved::Closed;
        }
        let count = self.space().min(bytes.len());
        if count == 0 {
            return Moved::Wait;
        }
        // SAFETY: the bytes are readable for `count`.
        Self::moved(unsafe { libxenvchan_write(self.channel.as_ptr(), bytes.as_ptr().cast(), count) })
    }

    fn silence(&mut self) -> io::Result<()> {
        // SAFETY: `channel` is open until `drop`.
        match unsafe { libxenvchan_wait(self.channel.as_ptr()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn events(&self) -> BorrowedFd<'_> {
        // SAFETY: `channel` is open until `drop`.
        let fd = unsafe { libxenvchan_fd_for_select(self.channel.as_ptr()) };
        // SAFETY: the library closes the descriptor with the channel, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// dom0 lives as long as the machine. When it cannot be told, the peer is taken to be alive.
    fn is_peer_alive(&mut self) -> bool {
        if self.peer == DomId::DOM0 {
            return true;
        }
        match self.lives() {
            Ok(lives) => lives,
            Err(error) => {
                log::debug!("vchan: whether domain {} lives: {error}", self.peer);
                self.store = None;
                true
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: the channel came from the library and is used no more.
        unsafe { libxenvchan_close(self.channel.as_ptr()) }
    }
}

/// The state when the peer has closed or its process has died (spec/vchan.md 1).
const CLOSED: c_int = 0;
/// The state of a server without a client (spec/vchan.md 1).
const WAITING: c_int = 2;
