//! The keeper: fills, refreshes and cleans the queue of preloaded disposables. Run by `qubes-preload-dispvm.service`.
//!
//! It decides with [`disposable::keeper`] and acts here: look at the places, plan, do, wait for the next reason to look.
#![forbid(unsafe_code)]

mod destroy;
mod look;
mod start;
mod watch;

use admin::Client;
use disposable::config::Config;
use disposable::keeper::{Action, Keeper, Plan};
use disposable::queue::{KeeperLock, Queue};
use hypervisor::local::Local;
use look::Templates;
use names::QubeName;
use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use trace::{Event, Reporter};
use watch::Reason;

/// The program. Returns the exit code: 0 after SIGTERM, 1 when it cannot keep a queue (the reason is on stderr).
#[must_use]
pub fn main(_arguments: &[OsString]) -> u8 {
    // A second initialisation, by a host that links this program, is no error worth telling.
    drop(env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).try_init());
    match keep() {
        Ok(()) => 0,
        Err(error) => {
            log::error!("{error}");
            1
        }
    }
}

fn keep() -> Result<(), String> {
    let config = Config::load().map_err(|error| error.to_string())?;
    let lock = KeeperLock::take(&config.queue)
        .map_err(|error| format!("cannot make the queue {}: {error}", config.queue.display()))?
        .ok_or_else(|| format!("another keeper already runs for {}", config.queue.display()))?;
    let (sender, receiver) = mpsc::channel();
    let mut driver = Driver::new(Shared::new(config), sender)?;
    driver.run(&receiver);
    drop(lock);
    Ok(())
}

/// What the threads that start and destroy disposables share.
#[derive(Debug)]
struct Shared {
    config: Config,
    admin: Client,
    hypervisor: Local,
    story: Reporter,
}

impl Shared {
    fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            admin: Client::new(&config.qubesd_socket),
            hypervisor: Local::new(config.domains.clone()),
            story: Reporter::to(config.story.as_deref()),
            config,
        })
    }

    fn queue(&self, template: &QubeName) -> std::io::Result<Queue> {
        Queue::create(&self.config.queue, template, self.config.lock_wait)
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
    /// Reservations that this very process is working on.
    starting: HashSet<String>,
    labels: u64,
    events: Sender<Reason>,
    watched: watch::Places,
}

impl Driver {
    fn new(shared: Arc<Shared>, events: Sender<Reason>) -> Result<Self, String> {
        let watched =
            watch::Places::new(events.clone()).map_err(|error| format!("cannot use inotify: {error}"))?;
        watch::signals(events.clone()).map_err(|error| format!("cannot receive signals: {error}"))?;
        watch::admin_events(shared.clone(), events.clone())
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Self {
            templates: Templates::default(),
            keeper: Keeper::default(),
            starting: HashSet::new(),
            labels: 0,
            shared,
            events,
            watched,
        })
    }

    fn run(&mut self, reasons: &Receiver<Reason>) {
        self.recover();
        let mut full = true;
        loop {
            let again_at = self.pass(full);
            full = false;
            let mut reason = self.wait(reasons, again_at);
            // Moves come in bursts; one look serves them all.
            while let Some(one) = reason {
                if matches!(one, Reason::Stop) {
                    return self.drain();
                }
                full |= self.note(one);
                reason = reasons.try_recv().ok();
            }
        }
    }

    /// One look at every template, and what follows from it. Returns when to look again at the latest.
    fn pass(&mut self, full: bool) -> Option<u64> {
        let mut again_at: Option<u64> = None;
        for template in self.templates.all(&self.shared) {
            let view = match look::view(&self.shared, &template, &self.templates, &self.starting, full) {
                Ok(view) => view,
                Err(error) => {
                    log::error!("cannot look at the queue of {template}: {error}");
                    continue;
                }
            };
            self.watched.add(&self.shared.config.queue, &template);
            let free = self.shared.config.parallel_starts.saturating_sub(self.starting.len());
            let plan = self.keeper.plan(&view, free, os::monotonic_ns());
            again_at = [again_at, plan.again_at].into_iter().flatten().min();
            self.act(&template, plan);
        }
        again_at
    }

    fn act(&mut self, template: &QubeName, plan: Plan) {
        for action in plan.actions {
            match action {
                Action::Start => self.start(template),
                Action::Discard { place, file, name, reason } => {
                    let moved = self.shared.queue(template).and_then(|queue| queue.discard(place, &file));
                    match moved {
                        Ok(_) => {
                            let text = format!("{name} taken out of the queue: {reason}");
                            self.shared.tell(Event::now(WHO, "discarded", &name, text));
                        }
                        Err(error) => log::error!("cannot take {name} out of the queue: {error}"),
                    }
                }
                Action::Destroy { place, file, entry } => {
                    destroy::in_background(&self.shared, template, place, file, entry, &self.events);
                }
            }
        }
    }

    fn start(&mut self, template: &QubeName) {
        let Some(limits) = self.templates.limits(template) else { return };
        self.labels += 1;
        let label = format!("{}-{}", std::process::id(), self.labels);
        let reserved = self.shared.queue(template).and_then(|queue| queue.reserve(&label, limits.max));
        match reserved {
            Ok(Some(reservation)) => {
                self.starting.insert(label);
                start::in_background(&self.shared, template, reservation, &self.events);
            }
            Ok(None) => {}
            Err(error) => log::error!("cannot reserve room in the queue of {template}: {error}"),
        }
    }

    /// Takes one reason in. Returns whether the next look has to ask the hypervisor about each waiting disposable.
    fn note(&mut self, reason: Reason) -> bool {
        match reason {
            Reason::Moved | Reason::Stop => false,
            Reason::Started { template, label } => {
                self.starting.remove(&label);
                self.keeper.started(&template);
                false
            }
            Reason::StartFailed { template, label } => {
                self.starting.remove(&label);
                let wait = self.keeper.failed(&template, os::monotonic_ns());
                log::warn!("the next disposable of {template} is tried in {} s", wait.as_secs());
                false
            }
            Reason::NotDestroyed { template, place, file } => {
                self.keeper.not_destroyed(&template, place, &file);
                false
            }
            Reason::Admin(event) => {
                for change in self.templates.note(&self.shared, &event) {
                    self.keeper.changed(&change.template, change.delay, os::monotonic_ns());
                }
                event.name.starts_with("domain-") && !event.name.starts_with("domain-feature")
            }
            Reason::AdminLost => {
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

    /// What an earlier keeper, killed anywhere, may have left (promise P5). The places themselves are repaired by the
    /// first look; here: counters, and disposables that never made it into a place.
    fn recover(&mut self) {
        for template in Queue::templates(&self.shared.config.queue).unwrap_or_default() {
            if let Err(error) = self.shared.queue(&template).and_then(|queue| queue.recount()) {
                log::error!("cannot recount the queue of {template}: {error}");
            }
        }
        destroy::strays(&self.shared);
    }

    /// Empties the queue by kill, so that host suspend and shutdown find no paused qube (design, section 5).
    fn drain(&mut self) {
        let begun = os::monotonic_ns();
        let count = destroy::all_waiting(&self.shared);
        self.shared.tell(
            Event::now(WHO, "drained", "", format!("{count} waiting disposables destroyed")).since(begun),
        );
    }
}

/// Waiting disposables are looked at this often even if nothing happens.
const HEALTH_LOOK: Duration = Duration::from_secs(30);
const WHO: &str = "keeper";
