//! The Xen transport: rings in memory that two domains share, found through xenstore, woken by an event channel
//! (spec/vchan.md, section 2). libxenvchan does the rings.
//!
//! A ring is neither spliced nor polled for room, and its event descriptor has to be silenced after each event. So each
//! vchan has a thread, the [`pump`], which moves bytes between the ring and one end of a socket pair; the other end
//! behaves as a vchan of the socket transport. The last handle on a vchan, when it is dropped, waits until the ring has
//! taken what was written: else a process could end before its last words are out.

#[cfg(feature = "xen")]
mod arrival;
#[cfg(feature = "xen")]
mod channel;
mod path;
mod pump;
#[cfg(feature = "xen")]
mod server;

#[cfg(feature = "xen")]
pub(crate) use arrival::connect;
#[cfg(feature = "xen")]
pub(crate) use pump::Pump;
#[cfg(feature = "xen")]
pub(crate) use server::XenServer;
