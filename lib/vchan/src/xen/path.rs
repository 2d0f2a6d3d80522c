//! Names in xenstore and sizes of rings (spec/vchan.md 2.1, 2.2).

use names::DomId;

/// Below its own directory: what a server has for all ports of one client.
pub(super) fn of_client(client: DomId) -> String {
    format!("data/vchan/{client}")
}

/// Below its own directory: where a server tells its client of the rings.
pub(super) fn of_server(client: DomId, port: u16) -> String {
    format!("{}/{port}", of_client(client))
}

/// The same as the client sees it.
pub(super) fn seen_by_client(server: DomId, client: DomId, port: u16) -> String {
    format!("/local/domain/{server}/{}", of_server(client, port))
}

/// Bytes of each ring: qrexec uses a page for control and 16 pages for data (spec/vchan.md 2.2).
pub(super) const fn ring_size(port: u16) -> usize {
    if port == CONTROL_PORT { 4096 } else { 65536 }
}

/// The port of the control vchan (spec/qrexec-wire.md).
const CONTROL_PORT: u16 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upstreams() {
        let (server, client) = (7u32.try_into().unwrap(), 0u32.try_into().unwrap());
        assert_eq!(of_server(client, 513), "data/vchan/0/513");
        assert_eq!(seen_by_client(server, client, 513), "/local/domain/7/data/vchan/0/513");
        assert_eq!((ring_size(512), ring_size(513)), (4096, 65536));
    }
}
