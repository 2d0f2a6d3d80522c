//! What a daemon tells a person about calls. Reasons stay in dom0: the story has no listener in a qube.

use super::error::CallError;
use super::options::Options;
use super::trigger::Trigger;
use policy::protocol::Grant;
use trace::{Event, Reporter};

/// The events of one qube's calls. All texts from the qube have been cleaned with the trigger.
pub(super) struct Story {
    reporter: Reporter,
    qube: String,
}

impl Story {
    pub(super) fn new(options: &Options) -> Self {
        Self { reporter: Reporter::to(options.story.as_deref()), qube: options.name.to_string() }
    }

    pub(super) fn asked(&self, trigger: &Trigger) {
        let target = if trigger.target.is_empty() { "the default target" } else { &trigger.target };
        self.tell(trigger, "asked", format!("{} asks for {} in {target}", self.qube, shown(trigger)), None);
    }

    pub(super) fn allowed(&self, trigger: &Trigger, grant: &Grant, start_ns: u64) {
        let text = format!("allowed: {} will run in {}", shown(trigger), grant.target);
        self.tell(trigger, "allowed", text, Some(start_ns));
    }

    pub(super) fn ended(&self, trigger: &Trigger, code: Option<i32>, start_ns: u64) {
        match code {
            Some(code) => self.report(
                self.event(trigger, "ended", format!("{} has ended with code {code}", shown(trigger)))
                    .with("exit", code)
                    .since(start_ns),
            ),
            None => {
                self.tell(
                    trigger,
                    "handed",
                    format!("{} is in the other qube's hands", shown(trigger)),
                    Some(start_ns),
                );
            }
        }
    }

    pub(super) fn failed(&self, trigger: &Trigger, error: &CallError, start_ns: u64) {
        let step = if error.is_denial() { "refused" } else { "failed" };
        self.tell(trigger, step, format!("{}: {error}", shown(trigger)), Some(start_ns));
    }

    fn tell(&self, trigger: &Trigger, step: &str, text: String, start_ns: Option<u64>) {
        if self.reporter.is_heard() {
            let event = self.event(trigger, step, text);
            self.report(start_ns.into_iter().fold(event, Event::since));
        }
    }

    fn event(&self, trigger: &Trigger, step: &str, text: String) -> Event {
        Event::now("qrexec-daemon", step, &self.qube, text)
            .with("service", shown(trigger))
            .with("target", trigger.target.as_str())
    }

    fn report(&self, event: Event) {
        self.reporter.report(&event);
    }
}

/// The service, cut where an argument is too long to be read.
pub(super) fn shown(trigger: &Trigger) -> &str {
    // Cleaning has left ASCII alone, so every cut is between characters.
    trigger.service.get(..80).unwrap_or(&trigger.service)
}
