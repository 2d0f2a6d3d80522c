//! A host of this process, from start to stop, with its story.

use super::failure::Failure;
use super::options::Settings;
use super::place::{self, Place};
use super::story::{Form, Story};
use crate::{Asking, Host, HostConfig, Layout, XenSettings};
use hypervisor::local::{Isolation, Mount};
use names::{QubeName, QubeRef, Target};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use trace::Event;

/// Names the root below which packages of this project are installed, to run their files (docs/develop.md).
const INSTALLED: &str = "QUBES_HOST_INSTALLED";
/// `unit`: the keeper is run by its unit, not by the host.
const KEEPER: &str = "QUBES_HOST_KEEPER";

/// The embedded dom0 with its story and its signals.
pub(super) struct Running {
    pub(super) host: Host,
    pub(super) layout: Layout,
    pub(super) story: Story,
    signal: Arc<AtomicUsize>,
    private: bool,
    /// Qubes are domains, which start slowly.
    xen: bool,
}

impl Running {
    /// Starts the host in `place`, with `work` and the waiting disposables.
    pub(super) fn start(settings: &Settings, place: &Place, mounts: Vec<Mount>) -> Result<Self, Failure> {
        let signal = catch_signals()?;
        for path in place::abandoned() {
            Host::remove_abandoned(&path);
        }
        let layout = Layout::new(&place.path);
        let failed = |error: &dyn std::fmt::Display| {
            Failure::trouble("start the host in", place.path.display(), error)
        };
        layout.create().map_err(|error| failed(&error))?;
        let form = if settings.json { Form::Json } else { Form::Lines };
        let mut environment = vec![("QUBES_STORY".to_owned(), "1".to_owned())];
        if let Some(with) = &settings.with {
            environment.push(("QUBES_OPEN_WITH".to_owned(), with.clone()));
        }
        let executable = std::env::current_exe().map_err(|error| failed(&error))?;
        let config = HostConfig {
            environment,
            work_mounts: mounts,
            isolation: if settings.processes { Isolation::Processes } else { Isolation::Auto },
            xen: settings.xen.then(XenSettings::from_env),
            story: Some(layout.story_socket()),
            asking: asking(settings),
            installed: std::env::var_os(INSTALLED).map(PathBuf::from),
            keeper: std::env::var_os(KEEPER).is_none_or(|who| who != "unit"),
            policy_socket: settings.policy_socket.clone(),
            ..HostConfig::new(layout.clone(), executable)
        };
        let mut story = Story::listen(&layout.story_socket(), form).map_err(|error| failed(&error))?;
        let begun = os::monotonic_ns();
        let host = Host::start(config).map_err(|error| failed(&error))?;
        let text = format!("embedded dom0 started in {}", place.path.display());
        story.tell(&Event::now("host", "host-started", "dom0", text).since(begun));
        if settings.processes {
            story.tell(&Event::now("host", "warning", "", NO_ISOLATION));
        }
        story.waiting_for("starting qubes");
        Ok(Self { host, layout, story, signal, private: place.private, xen: settings.xen })
    }

    /// Asks for `count` waiting disposables of the template that `target` means and waits until they are there.
    pub(super) fn preload(&mut self, target: &Target, count: usize) -> Result<(), Failure> {
        let admin = admin::Client::new(self.layout.qubesd_socket());
        let template = match target {
            Target::DispvmOf(template) => template.clone(),
            _ => QubeRef::Name(default_template()?),
        };
        let set = |feature: &str, value: &str| admin.feature_set(&template, feature, value);
        // One that does not exist, or is no template, is for the call itself to refuse.
        let is_template =
            admin.property_get(&template, "template_for_dispvms").is_ok_and(|property| property.is_true());
        if !is_template {
            return Ok(());
        }
        if let Err(error) = set("preload-dispvm-delay", REFILL_DELAY) {
            return Err(Failure::trouble("set the delay of", &template, error));
        }
        if let Err(error) = set("preload-dispvm-max", &count.to_string()) {
            let text = format!("nothing is preloaded: {error}");
            self.story.tell(&Event::now("host", "warning", "", text));
            return Ok(());
        }
        self.story.waiting_for("starting, checking and pausing disposables");
        let mut ready = 0;
        self.wait(PRELOAD_LIMIT * if self.xen { 10 } else { 1 }, |event| {
            ready += usize::from(event.step == "preloaded");
            ready >= count || event.step == "not-preloaded"
        })?;
        Ok(())
    }

    /// Shows events until `enough` says so; `Ok(false)` when `limit` is over first.
    pub(super) fn wait(
        &mut self,
        limit: Duration,
        mut enough: impl FnMut(&Event) -> bool,
    ) -> Result<bool, Failure> {
        let until = Instant::now() + limit;
        loop {
            self.check_signal()?;
            let left = until.saturating_duration_since(Instant::now());
            match self.story.next(left.min(SIGNAL_LOOK)) {
                Some(event) if enough(&event) => return Ok(true),
                Some(_) => {}
                None if left.is_zero() => return Ok(false),
                None => {}
            }
        }
    }

    /// Whether the user wants to end.
    pub(super) fn check_signal(&self) -> Result<(), Failure> {
        match self.signal.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Failure::signal(i32::try_from(signal).unwrap_or(15))),
        }
    }

    /// Takes everything down. What came back but could not be put in place is saved first, and named.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.story.catch_up();
        self.story.ending();
        let begun = os::monotonic_ns();
        let result = self.host.stop();
        while self.story.next(Duration::ZERO).is_some() {}
        let text = match &result {
            Ok(()) => "everything taken down".to_owned(),
            Err(error) => format!("not everything could be taken down: {error}"),
        };
        self.story.tell(&Event::now("host", "stopped", "dom0", text).since(begun));
        if self.private {
            self.save_recovered();
            let path = self.layout.state();
            if let Err(error) = std::fs::remove_dir_all(path) {
                return Err(Failure::trouble("remove", path.display(), error));
            }
        }
        result.map_err(|error| Failure::trouble("stop the host in", self.layout.state().display(), error))
    }

    /// The opener keeps what it cannot put in place in the qube's home, which is about to vanish (promise P12).
    fn save_recovered(&self) {
        let home = self.layout.private("work");
        let Ok(entries) = std::fs::read_dir(&home) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().contains(".edited"))
        {
            let to = recovery_directory().join(entry.file_name());
            let moved = std::fs::copy(entry.path(), &to);
            let text = match moved {
                Ok(_) => format!("what came back was saved as {}", to.display()),
                Err(error) => format!("what came back could not be saved as {}: {error}", to.display()),
            };
            self.story.tell(&Event::now("host", "recovered", "work", text));
        }
    }
}

/// Only who sees the question and can answer it is asked.
fn asking(settings: &Settings) -> Asking {
    match &settings.assume {
        Some(target) => Asking::Assume(target.clone()),
        None if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() => Asking::Terminal,
        None => Asking::Nobody,
    }
}

fn recovery_directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| std::env::temp_dir())
}

fn default_template() -> Result<QubeName, Failure> {
    crate::DEFAULT_TEMPLATE.parse().map_err(|error| Failure::trouble("name", "the default template", error))
}

fn catch_signals() -> Result<Arc<AtomicUsize>, Failure> {
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        let value = usize::try_from(number).unwrap_or(1);
        signal_hook::flag::register_usize(number, signal.clone(), value)
            .map_err(|error| Failure::trouble("catch", "signals", error))?;
    }
    Ok(signal)
}

const NO_ISOLATION: &str = "WARNING: NOTHING ISOLATES THE QUBES, they are plain processes: --processes";
/// Seconds after a use until the queue is refilled. qubesd's default of 3 spares a loaded desktop; here it would just
/// keep the user waiting.
const REFILL_DELAY: &str = "0.2";
const PRELOAD_LIMIT: Duration = Duration::from_secs(60);
const SIGNAL_LOOK: Duration = Duration::from_millis(50);
