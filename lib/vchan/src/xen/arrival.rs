//! Connecting to a server that may not be there yet.

use super::channel::Channel;
use super::{path, server};
use crate::Vchan;
use names::DomId;
use std::io;
use std::time::{Duration, Instant};
use xenstore::Xenstore;

/// Connects to the server of `peer` on `port`, waiting until there is one, for ever without `timeout`.
/// [`io::ErrorKind::TimedOut`] when none comes in time, [`io::ErrorKind::ConnectionReset`] when the domain is dead.
pub(crate) fn connect(peer: DomId, port: u16, timeout: Option<Duration>) -> io::Result<Vchan> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut store = Xenstore::open()?;
    let own = own_id(&mut store)?;
    if own == peer {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a domain has no vchan to itself"));
    }
    let path = path::seen_by_client(peer, own, port);
    // The key that is written last, not the directory, which appears before it.
    let key = format!("{path}/event-channel");
    store.watch(&key, "vchan")?;
    loop {
        if is_named(&mut store, &key)? {
            match Channel::join(peer, &path) {
                Ok(mut channel) => {
                    channel.ask_by(store);
                    return server::vchan(channel);
                }
                // A server that has given up meanwhile takes its names away first; another may come.
                Err(error) if is_named(&mut store, &key)? => return Err(error),
                Err(error) => log::debug!("vchan: the server has gone: {error}"),
            }
        }
        let left = deadline.map_or(TICK, |until| until.saturating_duration_since(Instant::now()).min(TICK));
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no server came"));
        }
        let is_quiet = store.next_event(left)?.is_none();
        if is_quiet && peer != DomId::DOM0 && matches!(store.is_introduced(peer), Ok(false)) {
            let text = format!("domain {peer} is gone");
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, text));
        }
    }
}

/// Xen's own word, not a variable's.
fn own_id(store: &mut Xenstore) -> io::Result<DomId> {
    match store.read_text("domid")?.map(|text| text.parse()) {
        Some(Ok(id)) => Ok(id),
        // dom0 has no such key where nothing has written it.
        None => Ok(DomId::DOM0),
        Some(Err(error)) => Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
    }
}

/// A directory above that may not be read does not exist for us yet.
fn is_named(store: &mut Xenstore, key: &str) -> io::Result<bool> {
    match store.read(key) {
        Ok(value) => Ok(value.is_some_and(|value| !value.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(error),
    }
}

/// How often to look whether the server's domain lives.
const TICK: Duration = Duration::from_secs(1);
