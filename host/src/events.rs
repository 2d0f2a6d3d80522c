//! Who follows the events of the Admin API.

use admin::protocol::Event;
use names::QubeName;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// A follower that is this many events behind is cut off: it then reads everything anew (spec/admin-api.md, section 6).
const BACKLOG: usize = 8192;

/// Hands each event to all followers, in order, without ever waiting for one.
#[derive(Debug, Default)]
pub(crate) struct EventHub {
    followers: Mutex<Vec<Follower>>,
}

#[derive(Debug)]
struct Follower {
    /// Follows this qube alone; everything when `None`.
    only: Option<QubeName>,
    queue: SyncSender<Arc<[u8]>>,
}

impl EventHub {
    /// Follows from now on: one qube, or everything. The receiver ends when the hub closes or cuts it off.
    pub(crate) fn follow(&self, only: Option<QubeName>) -> Receiver<Arc<[u8]>> {
        let (queue, receiver) = sync_channel(BACKLOG);
        self.lock().push(Follower { only, queue });
        receiver
    }

    /// Hands on what happened.
    pub(crate) fn publish(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut followers = self.lock();
        if followers.is_empty() {
            return;
        }
        for event in events {
            let bytes: Arc<[u8]> = event.encode().into();
            followers.retain(|follower| {
                let wanted = follower.only.as_ref().is_none_or(|only| only.as_str() == event.subject);
                match wanted.then(|| follower.queue.try_send(bytes.clone())) {
                    None | Some(Ok(())) => true,
                    Some(Err(TrySendError::Full(_))) => {
                        log::warn!("a follower of events is too slow and was cut off");
                        false
                    }
                    Some(Err(TrySendError::Disconnected(_))) => false,
                }
            });
        }
    }

    /// Ends all.
    pub(crate) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Follower>> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_follower_holds_up_nobody() {
        let hub = EventHub::default();
        let slow = hub.follow(None);
        let narrow = hub.follow(Some("work".parse().unwrap()));
        for _ in 0..=BACKLOG {
            hub.publish(&[Event::new("other", "x")]);
        }
        hub.publish(&[Event::new("work", "y")]);
        assert_eq!(slow.iter().count(), BACKLOG, "then it ends");
        assert_eq!(&*narrow.recv().unwrap(), &*Event::new("work", "y").encode());
        hub.close();
        assert!(narrow.recv().is_err());
    }
}
