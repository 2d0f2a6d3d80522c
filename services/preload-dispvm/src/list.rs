//! The list of a template's waiting disposables, as clients see it: whoever is in it is not to be used yet (R106), and does
//! not keep its template (R108).

use crate::{Shared, start};
use disposable::keeper::View;
use disposable::queue::{Listed, Place};
use names::{QubeName, QubeRef};
use std::collections::HashMap;
use std::io;

/// The list of each template as clients last saw it.
#[derive(Debug, Default)]
pub(crate) struct Lists(HashMap<QubeName, String>);

impl Lists {
    /// Shows clients the list of a template (spec/disposables.md, section 4), where that is ours to do.
    pub(crate) fn show(&mut self, shared: &Shared, view: &View) {
        let shown = self.0.get(&view.template).map(String::as_str);
        let ready = || shared.queue(&view.template).and_then(|queue| queue.list(Place::Ready));
        let list = match of(view, shown.unwrap_or_default(), ready) {
            Ok(list) if shown == Some(&list) => return,
            Ok(list) => list,
            Err(error) => return log::error!("cannot look at the queue of {}: {error}", view.template),
        };
        let template = QubeRef::Name(view.template.clone());
        match shared.admin.feature_set(&template, "preload-dispvm", &list) {
            Err(error) if !start::is_not_ours(&error) => {
                log::debug!("{}: the list of preloaded ones is not shown: {error}", view.template);
            }
            _ => drop(self.0.insert(view.template.clone(), list)),
        }
    }

    /// Somebody else may have changed them.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Names of those that wait, oldest first, then of those that start. `shown` is the list as it was; `ready` looks at that place
/// again.
///
/// A look may miss one that moves meanwhile from where it started to where it waits. It must not leave the list for a moment:
/// clients would take it for one in use.
fn of(view: &View, shown: &str, ready: impl FnOnce() -> io::Result<Vec<Listed>>) -> io::Result<String> {
    let of = |place| view.seen.iter().filter(move |seen| seen.place == place);
    let names = [Place::Ready, Place::Starting].into_iter().flat_map(of);
    let mut names: Vec<QubeName> =
        names.filter_map(|seen| seen.entry.as_ref()).map(|entry| entry.name.clone()).collect();
    let is_seen = |name: &str| {
        let mut entries = view.seen.iter().filter_map(|seen| seen.entry.as_ref());
        entries.any(|entry| entry.name.as_str() == name)
    };
    if shown.split_whitespace().any(|name| !is_seen(name)) {
        let missed = ready()?.into_iter().filter_map(|listed| listed.entry).map(|entry| entry.name);
        names.extend(missed.filter(|name| !is_seen(name.as_str())));
    }
    Ok(names.iter().map(QubeName::as_str).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::of;
    use disposable::entry::Entry;
    use disposable::keeper::{Delay, Domain, Limits, Seen, View};
    use disposable::queue::{Listed, Place};
    use names::Generation;
    use std::time::Duration;

    fn entry(number: u16) -> Entry {
        Entry {
            name: format!("disp{number}").parse().unwrap(),
            uuid: "4f0c2f36-1d0e-4f5c-8a51-6b1a5a3f0b11".parse().unwrap(),
            domid: u32::from(number).try_into().unwrap(),
            template: "default-dvm".parse().unwrap(),
            generation: Generation(0),
            created: 0,
            claimer: None,
        }
    }

    fn view(seen: &[(Place, u16)]) -> View {
        let seen = seen.iter().map(|&(place, number)| Seen {
            place,
            file: number.to_string(),
            entry: Some(entry(number)),
            making: false,
            owner_lives: false,
            domain: Domain::Unchecked,
        });
        View {
            template: "default-dvm".parse().unwrap(),
            limits: Limits { max: 9, delay: Delay::After(Duration::ZERO) },
            generation: Generation(0),
            affordable: usize::MAX,
            seen: seen.collect(),
        }
    }

    fn listed(numbers: &[u16]) -> Vec<Listed> {
        let of =
            |&number: &u16| Listed { file: number.to_string(), entry: Some(entry(number)), claimer: None };
        numbers.iter().map(of).collect()
    }

    #[test]
    fn one_that_moves_while_it_is_looked_for_stays_in_the_list() {
        let only = |numbers: &'static [u16]| move || Ok(listed(numbers));
        let waits = view(&[(Place::Ready, 1)]);
        assert_eq!(of(&waits, "disp1 disp2", only(&[1, 2])).unwrap(), "disp1 disp2");
        assert_eq!(of(&view(&[]), "disp2", only(&[2])).unwrap(), "disp2");
        // It is gone.
        assert_eq!(of(&waits, "disp1 disp2", only(&[1])).unwrap(), "disp1");
    }

    #[test]
    fn who_is_in_use_is_not_in_the_list_and_no_second_look_is_needed() {
        let never = || -> std::io::Result<Vec<Listed>> { unreachable!("nothing was missed") };
        let all = view(&[(Place::Used, 1), (Place::Claimed, 2), (Place::Ready, 3), (Place::Starting, 4)]);
        assert_eq!(of(&all, "disp1 disp2 disp3", never).unwrap(), "disp3 disp4");
        assert_eq!(of(&all, "", never).unwrap(), "disp3 disp4");
    }
}
