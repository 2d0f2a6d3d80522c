//! Which data ports are in use (spec/qrexec-wire.md, section 5).

use super::ClientId;
use qubes_qrexec_sys::limit::{FIRST_DATA_PORT, SLOTS};

/// The 256 data ports of one qube's daemon.
///
/// A port is given for a peer and comes back only by the word of this qube's agent that the connection to that very
/// peer has ended.
#[derive(Debug, Clone)]
pub struct Ports {
    own: u32,
    slots: Vec<Option<Lease>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    peer: u32,
    notify: Option<ClientId>,
}

impl Ports {
    /// All ports of the daemon of domain `own`, free.
    #[must_use]
    pub fn new(own: u32) -> Self {
        Self { own, slots: vec![None; SLOTS] }
    }

    /// Takes a free port for a connection with domain `peer`; `None` when all are in use. `notify` is the client
    /// whose socket is to be closed when that connection ends.
    ///
    /// For a peer other than dom0 two daemons give out ports of the same pair of qubes, so each keeps to one parity:
    /// the daemon of the lower id to even numbers, that of the higher id to odd ones, as upstream's code does
    /// (its comment says the reverse; mixing both rules on one host would collide).
    pub fn allocate(&mut self, peer: u32, notify: Option<ClientId>) -> Option<u32> {
        let (start, step) = match peer {
            0 => (0, 1),
            _ if peer > self.own => (1, 2),
            _ => (0, 2),
        };
        let slot = (start..SLOTS).step_by(step).find(|&slot| self.slots.get(slot) == Some(&None))?;
        *self.slots.get_mut(slot)? = Some(Lease { peer, notify });
        u32::try_from(slot).ok().map(|slot| FIRST_DATA_PORT + slot)
    }

    /// Frees `port` if it was given for `peer`, and names the client that waits for that. Does nothing otherwise.
    pub fn release(&mut self, port: u32, peer: u32) -> Option<ClientId> {
        let lease = self.slots.get_mut(slot_of(port)?)?;
        if lease.is_some_and(|lease| lease.peer == peer) {
            return lease.take().and_then(|lease| lease.notify);
        }
        None
    }

    /// Forgets that `client` wants to hear of ends. Its ports stay in use: the calls go on.
    pub fn cancel_notice(&mut self, client: ClientId) {
        for lease in self.slots.iter_mut().flatten() {
            if lease.notify == Some(client) {
                lease.notify = None;
            }
        }
    }

    /// How many ports are in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.slots.iter().flatten().count()
    }
}

fn slot_of(port: u32) -> Option<usize> {
    let slot = usize::try_from(port.checked_sub(FIRST_DATA_PORT)?).ok()?;
    (slot < SLOTS).then_some(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parity_follows_the_ids() {
        let mut ports = Ports::new(42);
        assert_eq!(ports.allocate(43, None), Some(514));
        assert_eq!(ports.allocate(44, None), Some(516));
        assert_eq!(ports.allocate(41, None), Some(513));
        assert_eq!(ports.allocate(0, None), Some(515));
        assert_eq!(ports.allocate(0, None), Some(517));
    }

    #[test]
    fn a_port_is_freed_for_its_peer_only() {
        let mut ports = Ports::new(42);
        assert_eq!(ports.allocate(43, Some(ClientId(7))), Some(514));
        assert_eq!(ports.release(514, 44), None);
        assert_eq!(ports.used(), 1);
        assert_eq!(ports.release(514, 43), Some(ClientId(7)));
        assert_eq!(ports.used(), 0);
        assert_eq!(ports.release(514, 43), None);
    }

    #[test]
    fn there_are_256_for_dom0_and_128_for_a_qube() {
        let mut ports = Ports::new(42);
        let given: Vec<u32> = std::iter::from_fn(|| ports.allocate(1, None)).collect();
        assert_eq!(given.len(), 128);
        assert_eq!(std::iter::from_fn(|| ports.allocate(0, None)).count(), 128);
        assert_eq!(ports.used(), SLOTS);
    }
}
