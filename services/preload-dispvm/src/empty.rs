//! `preload-dispvm --empty`: what a keeper does when it is stopped, where none is left to do it. The host's sleep needs it: a
//! keeper that was killed a moment before has left paused disposables, and they do not survive that (R118).

use crate::list::Lists;
use crate::{Shared, WHO, destroy, recover};
use disposable::config::Config;
use disposable::queue::{Place, Queue, SoleKeeper};
use trace::Event;

/// Destroys what waits, and what a dead keeper had begun to make. Does nothing where there is no queue.
///
/// # Errors
/// A keeper lives: it empties the queue itself when it is stopped. Or something could not be destroyed.
pub(crate) fn empty() -> Result<(), String> {
    let begun = os::monotonic_ns();
    let shared = Shared::new(Config::load().map_err(|error| error.to_string())?, Lists::default());
    let root = &shared.config.queue;
    let failed = |step: &str, error: std::io::Error| format!("cannot {step} {}: {error}", root.display());
    if Queue::templates(root).map_err(|error| failed("read the queue", error))?.is_empty() {
        return Ok(());
    }
    // Held to the end: a keeper that begins meanwhile would fill what is emptied here.
    let _sole =
        SoleKeeper::take(root).map_err(|error| failed("take the queue", error))?.ok_or_else(|| {
            format!("a keeper keeps {}: stop it, and it empties the queue itself", root.display())
        })?;
    recover::queues(&shared)?;
    let count = destroy::all_waiting(&shared, |_| false);
    // Those that were being made and that no place knows: marked from the moment they exist.
    recover::strays(&shared);
    let left = waiting(&shared).map_err(|error| failed("read the queue", error))?;
    if left > 0 {
        return Err(format!("{left} disposables in {} could not be destroyed", root.display()));
    }
    shared.tell(
        Event::now(WHO, "drained", "", format!("{count} waiting disposables destroyed, without a keeper"))
            .since(begun),
    );
    Ok(())
}

/// How many disposables are known that somebody could still wake, or that were to be destroyed and are not.
fn waiting(shared: &Shared) -> std::io::Result<usize> {
    let mut count = 0;
    for template in Queue::templates(&shared.config.queue)? {
        let queue = shared.queue(&template)?;
        for place in [Place::Starting, Place::Ready, Place::Done] {
            count += queue.list(place)?.iter().filter(|listed| listed.entry.is_some()).count();
        }
    }
    Ok(count)
}
