//! `watch`: the status again whenever an entry moves.

use crate::scope::Scope;
use crate::{Failure, Outcome, sight, status};
use disposable::queue::{Place, Queue, place_path};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// Ends with Ctrl-C, or when nobody reads any more.
pub(crate) fn until_interrupted(scope: &Scope) -> Result<Outcome, Failure> {
    let config = sight::config_of(scope.state.as_deref())?;
    let cannot =
        |error: nix::Error| Failure::trouble(format!("cannot watch {}: {error}", config.queue.display()));
    let moves = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map_err(cannot)?;
    let changes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
    let add = |path: &std::path::Path| match moves.add_watch(path, changes) {
        // A queue may vanish between two looks; the root tells when there is one again.
        Ok(_) | Err(nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(cannot(error)),
    };
    let live = io::stdout().is_terminal() && !scope.json;
    let mut shown = String::new();
    loop {
        add(&config.queue)?;
        for template in Queue::templates(&config.queue).unwrap_or_default() {
            // The generation's file is in the queue's own directory: a refresh is seen too.
            add(&config.queue.join(template.as_str()))?;
            Place::ALL.iter().try_for_each(|place| add(&place_path(&config.queue, &template, *place)))?;
        }
        let page = status::page(scope, &config)?;
        let clear = if live { HOME_AND_CLEAR } else { "" };
        let mut stdout = io::stdout().lock();
        // Without a terminal nobody wants to read the same twice.
        if (live || page != shown)
            && stdout.write_all(format!("{clear}{page}").as_bytes()).and_then(|()| stdout.flush()).is_err()
        {
            return Ok(Outcome::said(String::new(), 0));
        }
        shown = page;
        // On a terminal the ages go on; the keeper's coming and going moves no file either.
        match poll(&mut [PollFd::new(moves.as_fd(), PollFlags::POLLIN)], LOOK_AGAIN_MS) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(cannot(error)),
        }
        while moves.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

const HOME_AND_CLEAR: &str = "\x1b[H\x1b[J";
const LOOK_AGAIN_MS: u16 = 2000;
