//! What is killed: each operation as one process does it.

use crate::common;
use crate::site::Site;
use disposable::entry::Entry;
use disposable::keeper::{Action, Delay, Domain, Keeper, Limits, Seen, View};
use disposable::queue::{ClaimOrReserved, Place, Reservation};
use os::process::ProcessId;
use std::collections::HashSet;
use std::time::Duration;

pub(crate) const ALL: [&str; 7] = ["call", "cold", "reserve", "make", "discard", "refresh", "recover"];

pub(crate) fn run(operation: &str, site: &Site) {
    match operation {
        "call" => call(site),
        "cold" => cold(site),
        "reserve" => reserve(site),
        "make" => site.make(&site.queue(), 3, ProcessId::own()),
        "discard" => {
            let queue = site.queue();
            let first = queue.list(Place::Ready).unwrap().remove(0);
            assert!(queue.discard(Place::Ready, &first.file).unwrap());
            site.destroy(first.entry.unwrap().uuid);
            queue.forget(Place::Done, "disp1").unwrap();
        }
        "refresh" => assert!(site.queue().refresh("changed").unwrap()),
        "recover" => recover(site),
        other => panic!("no operation {other}"),
    }
}

/// Claim, wake, used, done: a whole call.
fn call(site: &Site) {
    let queue = site.queue();
    let mut claimed = queue.claim(ProcessId::own()).unwrap().claimed.unwrap();
    site.shift(&claimed.entry().clone(), "paused", "running");
    claimed.used();
    claimed.done();
}

/// A call that creates its own: wanted, created, noted, started, used, done.
fn cold(site: &Site) {
    let queue = site.queue();
    let wanted = queue.want(ProcessId::own(), 7).unwrap();
    let entry = site.entry(&queue, 7);
    site.create(&entry);
    let mut claimed = wanted.became(Entry { claimer: Some(ProcessId::own()), ..entry.clone() }).unwrap();
    site.shift(&entry, "halted", "running");
    claimed.used();
    claimed.done();
}

fn reserve(site: &Site) {
    let queue = site.queue();
    let ClaimOrReserved::Reserved(mut reserved) = queue.claim_or_reserve(ProcessId::own()).unwrap() else {
        panic!("one was starting");
    };
    assert!(reserved.try_wait().unwrap().is_none());
}

/// A keeper's start and its looks, until there is nothing more to do. As the driver does it; qubesd is the site.
fn recover(site: &Site) {
    let queue = site.queue();
    queue.recover().unwrap();
    strays(site);
    queue.refresh("as made").unwrap();
    let mut keeper = Keeper::default();
    loop {
        let domains = site.domains();
        let mut seen = Vec::new();
        for place in Place::ALL {
            for listed in queue.list(place).unwrap() {
                let owner_lives = listed.claimer.is_some_and(ProcessId::is_alive);
                let domain = match listed.entry.as_ref().map(|entry| domains.get(&entry.uuid)) {
                    Some(Some(domain)) if domain.state == "paused" => Domain::Paused,
                    Some(Some(_)) => Domain::Running,
                    _ => Domain::Gone,
                };
                seen.push(Seen {
                    place,
                    file: listed.file,
                    entry: listed.entry,
                    making: false,
                    owner_lives,
                    domain,
                });
            }
        }
        let limits = Limits { max: 9, delay: Delay::After(Duration::ZERO) };
        let (template, generation) = (common::template(), queue.generation().unwrap());
        let view = View { template, limits, generation, affordable: usize::MAX, seen };
        let actions = keeper.plan(&view, 0, os::monotonic_ns()).actions;
        if actions.is_empty() {
            return;
        }
        for action in actions {
            match action {
                Action::Discard { place, file, .. } => drop(queue.discard(place, &file).unwrap()),
                Action::Destroy { place, file, entry } => {
                    if let Some(entry) = entry {
                        site.destroy(entry.uuid);
                    }
                    queue.forget(place, &file).unwrap();
                }
                Action::Start | Action::SayShort(_) | Action::Release(_) => {}
            }
        }
    }
}

fn strays(site: &Site) {
    let queue = site.queue();
    let mut known = HashSet::new();
    let mut wanted = false;
    for place in Place::ALL {
        for listed in queue.list(place).unwrap() {
            wanted |= listed.entry.is_none() && Reservation::starter(&listed.file).is_some();
            known.extend(listed.entry.map(|entry| entry.uuid));
        }
    }
    for (uuid, domain) in site.domains() {
        if wanted && domain.state == "halted" && !known.contains(&uuid) {
            site.destroy(uuid);
        }
    }
}
