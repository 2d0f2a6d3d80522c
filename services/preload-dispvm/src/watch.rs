//! Reasons to look: a file moved, an event of the Admin API, a finished start, a signal.

use crate::Shared;
use disposable::keeper::Failure;
use disposable::queue::{Place, place_path};
use names::QubeName;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// Why the keeper looks.
#[derive(Debug)]
pub(crate) enum Reason {
    /// An entry moved.
    Moved,
    /// A disposable was made and waits.
    Started { template: QubeName, label: String },
    /// A disposable could not be made; the thread that tried has said why. Without a failure it was taken away meanwhile.
    StartFailed { template: QubeName, label: String, failure: Option<Failure> },
    /// A disposable could not be destroyed.
    NotDestroyed { template: QubeName, place: Place, file: String },
    /// Something happened to a qube.
    Admin(admin::protocol::Event),
    /// The event stream broke: what was known may be old.
    AdminLost,
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

/// The places of all queues, watched by inotify.
pub(crate) struct Places {
    /// `None`: the user's instances are used up (`fs.inotify.max_user_instances`), and the keeper looks now and then.
    inotify: Option<Arc<Inotify>>,
    known: HashSet<QubeName>,
}

impl Places {
    pub(crate) fn new(reasons: Sender<Reason>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map(Arc::new);
        if let Err(error) = inotify {
            log::warn!(
                "cannot watch the queues: {error}; looking every {LOOK:?}. More inotify instances help: sysctl fs.inotify.max_user_instances"
            );
        }
        let reader = inotify.clone();
        let next = move || match &reader {
            Ok(inotify) => inotify.read_events().is_ok(),
            Err(_) => {
                std::thread::sleep(LOOK);
                true
            }
        };
        std::thread::Builder::new()
            .name("places".into())
            .spawn(move || while next() && reasons.send(Reason::Moved).is_ok() {})?;
        Ok(Self { inotify: inotify.ok(), known: HashSet::new() })
    }

    /// Watches the places of a template; once is enough.
    pub(crate) fn add(&mut self, root: &Path, template: &QubeName) {
        let Some(inotify) = &self.inotify else { return };
        if !self.known.insert(template.clone()) {
            return;
        }
        for place in [Place::Ready, Place::Claimed, Place::Used, Place::Done] {
            let path = place_path(root, template, place);
            if let Err(error) =
                inotify.add_watch(&path, AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE)
            {
                log::error!("cannot watch {}: {error}", path.display());
                self.known.remove(template);
            }
        }
    }
}

/// SIGTERM and SIGINT become [`Reason::Stop`], SIGHUP becomes [`Reason::Reload`].
pub(crate) fn signals(reasons: Sender<Reason>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let reason = if signal == SIGHUP { Reason::Reload } else { Reason::Stop };
            // The keeper that no longer listens is about to end anyway.
            drop(reasons.send(reason));
        }
    })?;
    Ok(())
}

/// Follows the event stream; connects again a second after it ends, as qubesd's own clients do (spec/admin-api.md 6).
pub(crate) fn admin_events(shared: Arc<Shared>, reasons: Sender<Reason>) -> io::Result<()> {
    std::thread::Builder::new().name("events".into()).spawn(move || {
        loop {
            match shared.admin.events() {
                Ok(stream) => {
                    for event in stream {
                        let Ok(event) = event else { break };
                        if reasons.send(Reason::Admin(event)).is_err() {
                            return;
                        }
                    }
                }
                Err(error) => log::warn!("no events from {}: {error}", shared.config.qubesd_socket.display()),
            }
            if reasons.send(Reason::AdminLost).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    })?;
    Ok(())
}

/// How often to look where nothing tells of moves.
const LOOK: Duration = Duration::from_millis(100);
