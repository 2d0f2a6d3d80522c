//! The list of a template's waiting disposables, as clients see it: whoever is in it is not to be used yet (R106), and does
//! not keep its template (R108).

use crate::{Shared, start};
use disposable::keeper::View;
use disposable::queue::{Listed, Place, Queue};
use names::{QubeName, QubeRef};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// The list of each template as clients last saw it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lists(Arc<Mutex<HashMap<QubeName, String>>>);

impl Lists {
    /// Shows clients who waits, where a look saw others than they were shown.
    pub(crate) fn follow(&self, shared: &Shared, view: &View) {
        let entries = view.seen.iter().filter_map(|seen| Some((seen.place, &seen.entry.as_ref()?.name)));
        let seen = text(&entries.collect::<Vec<_>>());
        let is_shown = {
            let shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            shown.get(&view.template) == Some(&seen)
        };
        if !is_shown {
            self.show(shared, &view.template);
        }
    }

    /// Shows clients the list of a template (spec/disposables.md, section 4) as it is now, where that is ours to do. Those that
    /// start in threads of their own show themselves this way before anybody can hear of their start.
    pub(crate) fn show(&self, shared: &Shared, template: &QubeName) {
        // Held until it is shown: nobody can show an older list after it.
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let list = match shared.queue(template).and_then(|queue| now(&queue)) {
            Ok(list) if shown.get(template) == Some(&list) => return,
            Ok(list) => list,
            Err(error) => return log::error!("cannot look at the queue of {template}: {error}"),
        };
        match shared.admin.feature_set(&QubeRef::Name(template.clone()), "preload-dispvm", &list) {
            Err(error) if !start::is_not_ours(&error) => {
                log::debug!("{template}: the list of preloaded ones is not shown: {error}");
            }
            _ => drop(shown.insert(template.clone(), list)),
        }
    }

    /// Somebody else may have changed them.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Looks in the order in which they move: one that moves meanwhile is seen twice, and not missed. Missed, it would leave the
/// list for a moment, and clients would take it for one in use.
fn now(queue: &Queue) -> io::Result<String> {
    let mut found = Vec::new();
    for place in [Place::Starting, Place::Ready] {
        let entries = queue.list(place)?.into_iter().filter_map(|Listed { entry, .. }| entry);
        found.extend(entries.map(|entry| (place, entry.name)));
    }
    Ok(text(&found.iter().map(|(place, name)| (*place, name)).collect::<Vec<_>>()))
}

/// Those that wait, oldest first, then those that start; each once.
fn text(found: &[(Place, &QubeName)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for wanted in [Place::Ready, Place::Starting] {
        for (_, name) in found.iter().filter(|(place, _)| *place == wanted) {
            if !names.contains(&name.as_str()) {
                names.push(name.as_str());
            }
        }
    }
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{now, text};
    use disposable::entry::Entry;
    use disposable::queue::Place::{Claimed, Ready, Starting, Used};
    use disposable::queue::Queue;
    use names::{Generation, QubeName};
    use std::time::Duration;

    #[test]
    fn one_that_moves_while_it_is_looked_for_stays_in_the_list() {
        let root = tempfile::tempdir().unwrap();
        let template: QubeName = "default-dvm".parse().unwrap();
        let queue = Queue::create(root.path(), &template, Duration::from_secs(10)).unwrap();
        for number in 0..200 {
            let reservation = queue.reserve(&format!("{number:03}"), usize::MAX).unwrap().unwrap();
            let entry = Entry {
                name: format!("disp{number}").parse().unwrap(),
                uuid: "4f0c2f36-1d0e-4f5c-8a51-6b1a5a3f0b11".parse().unwrap(),
                domid: 1.try_into().unwrap(),
                template: template.clone(),
                generation: Generation(0),
                created: 0,
                claimer: None,
            };
            queue.note(&reservation, &entry).unwrap();
            std::thread::scope(|scope| {
                let moving = scope.spawn(|| queue.enqueue(&reservation).unwrap());
                while !moving.is_finished() {
                    let list = now(&queue).unwrap();
                    assert!(list.split(' ').any(|name| name == entry.name.as_str()), "{number}: {list}");
                }
            });
        }
    }

    #[test]
    fn who_waits_comes_before_who_starts_each_once_and_who_is_in_use_not_at_all() {
        let name = |number: u16| format!("disp{number}").parse::<QubeName>().unwrap();
        let [one, two, three, four, five] = [1, 2, 3, 4, 5].map(name);
        let seen = [(Starting, &two), (Starting, &one), (Ready, &three), (Ready, &two)];
        assert_eq!(text(&seen), "disp3 disp2 disp1");
        assert_eq!(text(&[(Used, &four), (Claimed, &five), (Ready, &one)]), "disp1");
        assert_eq!(text(&[]), "");
    }
}
