//! `refresh` and `drain`: what waits is replaced, or destroyed.

use crate::scope::Scope;
use crate::{Failure, Outcome, sight};
use disposable::config::Config;
use disposable::queue::{KeeperLock, Place, Queue};
use names::QubeName;
use serde_json::{Value, json};
use std::io;
use std::time::{Duration, Instant};

/// Makes what waits stale; the keeper replaces it.
pub(crate) fn refresh(scope: &Scope) -> Result<Outcome, Failure> {
    let config = sight::config_of(scope.state.as_deref())?;
    let keeper = KeeperLock::is_held(&config.queue);
    let mut said = Said::new(scope);
    for (template, queue) in queues(scope, &config)? {
        let cannot = |error: io::Error| {
            Failure::trouble(format!(
                "cannot refresh the queue of {template}: {error}; run this as root in dom0"
            ))
        };
        let waiting = queue.count(Place::Ready).map_err(cannot)?;
        let generation = queue.bump_generation().map_err(cannot)?;
        // The keeper looks when a file moves. The oldest one would be passed over now anyway.
        for listed in queue.list(Place::Ready).map_err(cannot)? {
            if listed.entry.is_none_or(|entry| entry.generation != generation) {
                queue.discard(Place::Ready, &listed.file).map_err(cannot)?;
            }
        }
        said.about(
            &format!("{template}: {waiting} waiting made stale (generation {generation})"),
            json!({ "template": template.as_str(), "stale": waiting, "generation": generation.0 }),
        );
    }
    Ok(said.outcome(keeper, true))
}

/// Destroys what waits or starts, and waits until it is gone.
pub(crate) fn drain(scope: &Scope) -> Result<Outcome, Failure> {
    let config = sight::config_of(scope.state.as_deref())?;
    let keeper = KeeperLock::is_held(&config.queue);
    let mut said = Said::new(scope);
    let mut all_gone = true;
    for (template, queue) in queues(scope, &config)? {
        let cannot = |error: io::Error| {
            Failure::trouble(format!(
                "cannot drain the queue of {template}: {error}; run this as root in dom0"
            ))
        };
        let mut names = Vec::new();
        for place in [Place::Ready, Place::Starting] {
            for listed in queue.list(place).map_err(cannot)? {
                if queue.discard(place, &listed.file).map_err(cannot)? {
                    names.push(listed.entry.map_or(listed.file, |entry| entry.name.to_string()));
                }
            }
        }
        // Without a keeper nobody destroys them: no use to wait.
        let left =
            if keeper { wait_until_gone(&queue, &names, PATIENCE).map_err(cannot)? } else { names.clone() };
        all_gone &= left.is_empty();
        let mut text = format!("{template}: {} of {} destroyed", names.len() - left.len(), names.len());
        if !left.is_empty() {
            text.push_str(&format!("; not yet gone: {}", left.join(" ")));
        }
        said.about(&text, json!({ "template": template.as_str(), "drained": names, "left": left }));
    }
    Ok(said.outcome(keeper, all_gone))
}

fn wait_until_gone(queue: &Queue, names: &[String], patience: Duration) -> io::Result<Vec<String>> {
    let until = Instant::now() + patience;
    loop {
        let done: Vec<String> = queue.list(Place::Done)?.into_iter().map(|listed| listed.file).collect();
        let left: Vec<String> = names.iter().filter(|name| done.contains(name)).cloned().collect();
        if left.is_empty() || Instant::now() >= until {
            return Ok(left);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn queues(scope: &Scope, config: &Config) -> Result<Vec<(QubeName, Queue)>, Failure> {
    let cannot = |error: io::Error| {
        Failure::trouble(format!("cannot read {}: {error}; run this as root in dom0", config.queue.display()))
    };
    let mut templates = Queue::templates(&config.queue).map_err(cannot)?;
    if let Some(unknown) = scope.templates.iter().find(|asked| !templates.contains(asked)) {
        return Err(Failure::trouble(format!(
            "{unknown} has no queue; \"qvm-features {unknown} preload-dispvm-max 1\" makes the keeper fill one"
        )));
    }
    templates.retain(|template| scope.includes(template));
    let mut queues = Vec::new();
    for template in templates {
        // No call waits for us: the lock may take its time.
        let queue = Queue::open(&config.queue, &template, config.lock_wait.max(LOCK_WAIT)).map_err(cannot)?;
        queues.extend(queue.map(|queue| (template, queue)));
    }
    Ok(queues)
}

/// What is said about each template, as text or as one line of JSON.
struct Said<'s> {
    scope: &'s Scope,
    text: String,
    values: Vec<Value>,
}

impl<'s> Said<'s> {
    fn new(scope: &'s Scope) -> Self {
        Self { scope, text: String::new(), values: Vec::new() }
    }

    fn about(&mut self, text: &str, value: Value) {
        self.text.push_str(text);
        self.text.push('\n');
        self.values.push(value);
    }

    fn outcome(self, keeper: bool, good: bool) -> Outcome {
        let out = if self.scope.json {
            format!("{}\n", json!({ "keeper": keeper, "templates": self.values }))
        } else {
            self.text
        };
        let remedy = self.scope.keeper_remedy();
        let reason = if keeper {
            String::new()
        } else {
            format!("no keeper lives, so nothing is destroyed or replaced until one does; {remedy}\n")
        };
        Outcome { out, reason, exit: u8::from(!good) }
    }
}

/// Longer than the keeper needs for a full queue.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LOCK_WAIT: Duration = Duration::from_secs(5);
