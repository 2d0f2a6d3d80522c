//! The keeper: fills, refreshes and cleans the queue of preloaded disposables. Run by `qubes-dispvm-keeper.service`.
//!
//! It decides with [`disposable::keeper`] and acts here: look at the places, plan, do, wait for the next reason to look.
#![forbid(unsafe_code)]

mod check;
mod destroy;
mod empty;
mod list;
mod look;
mod recover;
mod squeeze;
mod start;
mod templates;
mod usage;
mod watch;

use admin::Client;
use check::Nudge;
use disposable::config::Config;
use disposable::keeper::{Action, Keeper, Plan, View};
use disposable::queue::{KeeperLock, Place, Queue, Reservation, SoleKeeper};
use hypervisor::Machine;
use list::Lists;
use names::QubeName;
use os::process::ProcessId;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use templates::Templates;
use trace::{Event, Reporter};
use watch::Reason;

/// The program. Returns the exit code: 0 after SIGTERM, or when with `--empty` nothing waits any more; 1 when it cannot keep
/// or empty a queue (the reason is on stderr); 2 for other arguments: whoever gives some does not mean to start a keeper.
#[must_use]
pub fn main(arguments: &[OsString]) -> u8 {
    let work = match arguments {
        [] => keep,
        [word] if word == "--empty" => empty::empty,
        _ => return usage::show(arguments.iter().all(|word| word == "--help" || word == "-h")),
    };
    // A second initialisation, by a host that links this program, is no error worth telling.
    drop(env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).try_init());
    // Each move of a call in the queue wakes this process: never before the call's own next step (promise P6).
    os::scheduling::let_others_go_first();
    match work() {
        Ok(()) => 0,
        Err(error) => {
            log::error!("{error}");
            1
        }
    }
}

fn keep() -> Result<(), String> {
    let config = Config::load().map_err(|error| error.to_string())?;
    let lock = SoleKeeper::take(&config.queue)
        .map_err(|error| format!("cannot make the queue {}: {error}", config.queue.display()))?
        .ok_or_else(|| format!("another keeper already runs for {}", config.queue.display()))?;
    let (sender, receiver) = mpsc::channel();
    let mut driver = Driver::new(Shared::new(config, Lists::default()), sender)?;
    let result = driver.run(&receiver);
    drop(lock);
    result
}

/// What the threads that start and destroy disposables share.
#[derive(Debug)]
struct Shared {
    config: Config,
    admin: Client,
    hypervisor: Machine,
    story: Reporter,
    lists: Lists,
}

impl Shared {
    fn new(config: Config, lists: Lists) -> Arc<Self> {
        Arc::new(Self {
            admin: Client::new(&config.qubesd_socket),
            hypervisor: Machine::of(config.domains.clone()),
            story: Reporter::to(config.story.as_deref()),
            lists,
            config,
        })
    }

    fn queue(&self, template: &QubeName) -> std::io::Result<Queue> {
        // Claims wait a moment only; the keeper has time.
        Queue::create(&self.config.queue, template, self.config.lock_wait.max(LOCK_WAIT))
    }

    fn tell(&self, event: Event) {
        log::info!("{}", event.text);
        self.story.report(&event);
    }
}

struct Driver {
    shared: Arc<Shared>,
    keeper: Keeper,
    templates: Templates,
    /// Reservations that this very process is working on, and how to tell each that it moved.
    making: HashMap<String, Sender<Nudge>>,
    /// Held while every change is heard of: claims trust the queue as long as it is (promise P11).
    trust: Option<KeeperLock>,
    /// Whether events come.
    following: bool,
    /// Whether what an earlier keeper had begun was looked for.
    recovered: bool,
    /// Templates that were compared with what they were, since events come.
    compared: HashSet<QubeName>,
    events: Sender<Reason>,
    watched: watch::Places,
}

impl Driver {
    fn new(shared: Arc<Shared>, events: Sender<Reason>) -> Result<Self, String> {
        let watched =
            watch::Places::new(events.clone()).map_err(|error| format!("cannot use inotify: {error}"))?;
        watch::signals(events.clone()).map_err(|error| format!("cannot receive signals: {error}"))?;
        Ok(Self {
            templates: Templates::default(),
            keeper: Keeper::default(),
            making: HashMap::new(),
            trust: None,
            following: false,
            recovered: false,
            compared: HashSet::new(),
            shared,
            events,
            watched,
        })
    }

    fn run(&mut self, reasons: &Receiver<Reason>) -> Result<(), String> {
        recover::queues(&self.shared)?;
        squeeze::say_if_unknown(&self.shared.config.available_memory);
        watch::admin_events(self.shared.clone(), self.events.clone())
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let (mut full, mut looked_at) = (true, 0);
        loop {
            if full {
                looked_at = os::monotonic_ns();
            }
            let again_at = if self.following { self.pass(full) } else { None };
            if let Some(Err(error)) = self.trust.as_ref().map(KeeperLock::beat) {
                log::error!("cannot say that the keeper lives: {error}; calls start cold soon");
            }
            let mut reason = self.wait(reasons, again_at);
            // In case somebody touched what waits.
            full = os::monotonic_ns() >= looked_at + HEALTH_LOOK_NS;
            // Moves come in bursts; one look serves them all.
            while let Some(one) = reason {
                match one {
                    Reason::Stop => {
                        self.drain(reasons);
                        return Ok(());
                    }
                    Reason::Reload => self.reload(),
                    other => full |= self.note(other),
                }
                reason = reasons.try_recv().ok();
            }
        }
    }

    /// One look at every template, and what follows from it. Returns when to look again at the latest.
    fn pass(&mut self, full: bool) -> Option<u64> {
        let mut again_at: Option<u64> = None;
        if !self.recovered {
            recover::strays(&self.shared);
            self.recovered = true;
        }
        let templates = self.templates.all(&self.shared);
        again_at = [again_at, self.compare(&templates)].into_iter().flatten().min();
        for template in
            templates.into_iter().filter(|template| self.compared.contains(template)).collect::<Vec<_>>()
        {
            let is_making = |label: &str| self.making.contains_key(label);
            let view = match look::view(&self.shared, &template, &self.templates, is_making, full) {
                Ok(view) => view,
                Err(error) => {
                    log::error!("cannot look at the queue of {template}: {error}");
                    continue;
                }
            };
            self.watched.add(&self.shared.config.queue, &template);
            self.nudge_moved(&view);
            self.shared.lists.follow(&self.shared, &view);
            let free = self.shared.config.parallel_starts.saturating_sub(self.making.len());
            let plan = self.keeper.plan(&view, free, os::monotonic_ns());
            again_at = [again_at, plan.again_at].into_iter().flatten().min();
            self.act(&template, plan);
        }
        again_at
    }

    /// Compares the templates that were not since events come. Once all are, the queue can be trusted. Returns when to try
    /// again what did not succeed.
    fn compare(&mut self, templates: &[QubeName]) -> Option<u64> {
        for template in templates {
            if !self.compared.contains(template) && recover::compare(&self.shared, template) {
                self.compared.insert(template.clone());
            }
        }
        if !self.templates.are_known() || templates.iter().any(|template| !self.compared.contains(template)) {
            return Some(os::monotonic_ns() + COMPARE_AGAIN);
        }
        if self.trust.is_none() {
            // A claimer that looks at this very moment makes it fail; then a later look succeeds.
            self.trust = KeeperLock::take(&self.shared.config.queue).unwrap_or_default();
        }
        self.trust.is_none().then(|| os::monotonic_ns() + TRUST_AGAIN)
    }

    /// Tells the threads whose reservation is no longer where they left it.
    fn nudge_moved(&self, view: &View) {
        let mine = view.seen.iter().filter(|seen| seen.place > Place::Starting);
        for nudges in mine.filter_map(|seen| self.making.get(&seen.file)) {
            // A thread that no longer listens has ended or needs no nudge.
            drop(nudges.send(Nudge::Moved));
        }
    }

    fn act(&mut self, template: &QubeName, plan: Plan) {
        for action in plan.actions {
            match action {
                Action::Start => self.start(template),
                Action::Discard { place, file, name, reason } => {
                    let moved = self.shared.queue(template).and_then(|queue| queue.discard(place, &file));
                    match moved {
                        Ok(false) => {} // Somebody has taken it since it was looked at.
                        Ok(true) => {
                            let text = format!("{name} taken out of the queue: {reason}");
                            self.shared.tell(Event::now(WHO, "discarded", &name, text));
                        }
                        Err(error) => log::error!("cannot take {name} out of the queue: {error}"),
                    }
                }
                Action::SayShort(count) => {
                    let text = format!("Not preloading '{count}' disposable(s) due to insufficient memory");
                    self.shared.tell(Event::now(WHO, "short-of-memory", template.as_str(), text));
                }
                Action::Release(entry) => destroy::release(&self.shared, entry),
                Action::Destroy { place, file, entry } => {
                    destroy::in_background(&self.shared, template, place, file, entry, &self.events);
                }
            }
        }
    }

    fn start(&mut self, template: &QubeName) {
        let Some(limits) = self.templates.limits(template) else { return };
        let label = Reservation::label(ProcessId::own(), os::monotonic_ns());
        let reserved = self.shared.queue(template).and_then(|queue| queue.reserve(&label, limits.max));
        match reserved {
            Ok(Some(reservation)) => {
                let nudges = start::in_background(&self.shared, template, reservation, &self.events);
                self.making.insert(label, nudges);
            }
            Ok(None) => {}
            Err(error) => log::error!("cannot reserve room in the queue of {template}: {error}"),
        }
    }

    /// Takes one reason in. Returns whether the next look has to ask the hypervisor about each waiting disposable.
    fn note(&mut self, reason: Reason) -> bool {
        match reason {
            Reason::Moved | Reason::Stop | Reason::Reload => false,
            Reason::Started { template, label } => {
                self.making.remove(&label);
                self.keeper.started(&template);
                false
            }
            Reason::StartFailed { template, label, failure } => {
                self.making.remove(&label);
                let Some(failure) = failure else { return false };
                match self.keeper.failed(&template, failure, os::monotonic_ns()) {
                    Some(wait) => {
                        log::warn!("the next disposable of {template} is tried in {} s", wait.as_secs());
                    }
                    None => {
                        log::error!("no more disposables of {template} are tried until something changes");
                    }
                }
                false
            }
            Reason::NotDestroyed { template, place, file } => {
                self.keeper.not_destroyed(&template, place, &file, os::monotonic_ns());
                false
            }
            Reason::Admin(event) => {
                self.following = true;
                for change in self.templates.note(&self.shared, &event) {
                    self.keeper.changed(&change.template, change.delay, os::monotonic_ns());
                }
                event.name.starts_with("domain-") && !event.name.starts_with("domain-feature")
            }
            Reason::AdminLost => {
                // What changes now nobody tells: the queue is not to be trusted until it was compared again.
                self.following = false;
                self.trust = None;
                self.compared.clear();
                self.shared.lists.forget();
                self.templates.forget();
                true
            }
        }
    }

    fn wait(&self, reasons: &Receiver<Reason>, again_at: Option<u64>) -> Option<Reason> {
        let until = again_at.map_or(HEALTH_LOOK, |time| {
            Duration::from_nanos(time.saturating_sub(os::monotonic_ns())).min(HEALTH_LOOK)
        });
        match reasons.recv_timeout(until) {
            Ok(reason) => Some(reason),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Reason::Stop),
        }
    }

    /// SIGHUP: the configuration is read anew. What is under way ends by the old one; a broken file changes nothing.
    fn reload(&mut self) {
        match Config::load() {
            Ok(config) if config.queue != self.shared.config.queue => {
                log::error!("another queue directory needs a restart; the configuration stays as it was");
            }
            Ok(config) => {
                log::info!("configuration read anew");
                self.shared = Shared::new(config, self.shared.lists.clone());
                self.templates.forget();
            }
            Err(error) => log::error!("{error}; the configuration stays as it was"),
        }
    }

    /// Empties the queue by kill, so that host suspend and shutdown find no paused qube (design, section 5). What is just
    /// being made is taken from its thread, which then ends it: this is waited for, bounded.
    fn drain(&mut self, reasons: &Receiver<Reason>) {
        let begun = os::monotonic_ns();
        let mut count = destroy::all_waiting(&self.shared, |label| self.making.contains_key(label));
        for nudges in self.making.values() {
            // A thread that no longer listens has ended or needs no nudge.
            drop(nudges.send(Nudge::Moved));
        }
        let until = Instant::now() + LONGEST_DRAIN;
        while !self.making.is_empty() {
            match reasons.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Reason::Started { label, .. } | Reason::StartFailed { label, .. }) => {
                    self.making.remove(&label);
                }
                Ok(_) => {}
                Err(_) => {
                    log::warn!(
                        "{} disposables were still being made: the next keeper ends them",
                        self.making.len()
                    );
                    break;
                }
            }
        }
        // Those that became known meanwhile.
        count += destroy::all_waiting(&self.shared, |label| self.making.contains_key(label));
        self.shared.tell(
            Event::now(WHO, "drained", "", format!("{count} waiting disposables destroyed")).since(begun),
        );
    }
}

/// Waiting disposables are looked at this often even if nothing happens.
const HEALTH_LOOK: Duration = Duration::from_secs(30);
const HEALTH_LOOK_NS: u64 = 30_000_000_000;
/// Shorter than systemd waits for the end of the unit.
const LONGEST_DRAIN: Duration = Duration::from_secs(20);
/// In nanoseconds.
const COMPARE_AGAIN: u64 = 1_000_000_000;
const TRUST_AGAIN: u64 = 20_000_000;
/// How long the keeper waits for a queue's lock.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const WHO: &str = "keeper";
