//! `status`: for each template how many wait, start and are in use, and what stands in the way.

use crate::scope::Scope;
use crate::{Failure, Outcome, sight, template};
use admin::Client;
use disposable::config::Config;
use disposable::entry::Entry;
use disposable::queue::{KeeperLock, Place, Queue, StartFailure};
use names::QubeName;
use policy::SystemInfo;
use serde_json::{Value, json};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// One line of the table.
#[derive(Debug, Default)]
struct Row {
    template: String,
    /// `None`: qubesd does not tell, or the feature is bad.
    max: Option<usize>,
    ready: Vec<String>,
    /// Waiting, but made before the template changed.
    stale: usize,
    starting: usize,
    claimed: usize,
    used: usize,
    done: usize,
    /// Of those ready: seconds since the oldest and the newest were made.
    ages: Option<(u64, u64)>,
    /// Of those that wait or start, in KiB, where qubesd tells.
    memory: Option<u64>,
    trouble: Option<String>,
    /// Why the last start failed, if none has succeeded since; and how many seconds ago.
    failure: Option<(StartFailure, u64)>,
}

pub(crate) fn outcome(scope: &Scope) -> Result<Outcome, Failure> {
    let config = sight::config_of(scope.state.as_deref())?;
    Ok(Outcome::said(page(scope, &config)?, 0))
}

/// The whole answer: a table, or one line of JSON.
pub(crate) fn page(scope: &Scope, config: &Config) -> Result<String, Failure> {
    let keeper = KeeperLock::is_held(&config.queue);
    let mut rows = Vec::new();
    for template in templates(scope, config)? {
        let cannot = |error: io::Error| {
            Failure::trouble(format!(
                "cannot look at the queue of {template}: {error}; \"qvm-dispvm doctor\" tells more"
            ))
        };
        rows.push(row(scope, config, keeper, &template).map_err(cannot)?);
    }
    if scope.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        return Ok(format!("{}\n", json!({ "keeper": keeper, "templates": rows })));
    }
    let mut text = String::from(HEADING);
    rows.iter().for_each(|row| text.push_str(&row.line()));
    for row in rows {
        text.extend(row.trouble.map(|trouble| format!("{}: {trouble}\n", row.template)));
        text.extend(row.failure.map(|(failure, age)| {
            let StartFailure { step, cause, remedy, .. } = failure;
            format!("{}: last failure {age} s ago: cannot {step}: {cause}; {remedy}\n", row.template)
        }));
    }
    if !keeper {
        text.push_str(&format!(
            "no keeper lives: nothing is preloaded and calls start cold; {}\n",
            scope.keeper_remedy()
        ));
    }
    Ok(text)
}

/// Those with a queue, and those that could have one and are to.
fn templates(scope: &Scope, config: &Config) -> Result<Vec<QubeName>, Failure> {
    let queues = Queue::templates(&config.queue).map_err(|error| {
        Failure::trouble(format!("cannot read {}: {error}; run this as root in dom0", config.queue.display()))
    })?;
    let mut all: Vec<QubeName> = queues;
    if let Ok(system) = system(config) {
        let admin = Client::new(&config.qubesd_socket);
        let names = system.qubes().filter(|qube| qube.template_for_dispvms);
        let names = names.filter_map(|qube| qube.name.parse::<QubeName>().ok());
        let waited_for =
            |name: &QubeName| scope.templates.contains(name) || template::max(&admin, name) != Ok(0);
        all.extend(names.filter(waited_for));
    }
    all.retain(|template| scope.includes(template));
    all.sort();
    all.dedup();
    match scope.templates.iter().find(|asked| !all.contains(asked)) {
        Some(unknown) => Err(Failure::trouble(format!(
            "{unknown} is no disposable template that qubesd or the queue knows; \"qvm-prefs {unknown} template_for_dispvms True\" makes it one"
        ))),
        None => Ok(all),
    }
}

pub(crate) fn system(config: &Config) -> Result<SystemInfo, String> {
    let json = Client::new(&config.qubesd_internal_socket).system_info_json();
    SystemInfo::from_json(&json.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
}

fn row(scope: &Scope, config: &Config, keeper: bool, template: &QubeName) -> io::Result<Row> {
    let admin = Client::new(&config.qubesd_socket);
    let mut row = Row { template: template.to_string(), ..Row::default() };
    match template::max(&admin, template) {
        Ok(max) => row.max = Some(max),
        Err(trouble) => row.trouble = Some(trouble),
    }
    if let Some(queue) = Queue::open(&config.queue, template, config.lock_wait)? {
        let generation = queue.generation()?;
        let list =
            |place| Ok::<_, io::Error>(queue.list(place)?.into_iter().filter_map(|listed| listed.entry));
        let (fresh, stale): (Vec<Entry>, Vec<Entry>) =
            list(Place::Ready)?.partition(|entry| entry.generation == generation && entry.claimer.is_none());
        let count = |place| queue.count(place);
        (row.starting, row.claimed) = (count(Place::Starting)?, count(Place::Claimed)?);
        (row.used, row.done, row.stale) = (count(Place::Used)?, count(Place::Done)?, stale.len());
        let starting: Vec<Entry> = list(Place::Starting)?.collect();
        let held = fresh.iter().chain(&stale).chain(&starting);
        row.memory = held.filter_map(|entry| memory(&admin, &entry.name)).reduce(|sum, one| sum + one);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let ages: Vec<u64> = fresh.iter().map(|entry| now.saturating_sub(entry.created)).collect();
        row.ages = ages.iter().max().copied().zip(ages.iter().min().copied());
        row.failure =
            queue.last_failure()?.map(|failure| (failure.clone(), now.saturating_sub(failure.time)));
        row.ready = fresh.iter().map(|entry| entry.name.to_string()).collect();
    }
    let wanting = row.max.is_some_and(|max| max > row.ready.len());
    if wanting && row.trouble.is_none() {
        row.trouble = match template::lacks(&admin, template) {
            Ok(missing) if !missing.is_empty() => Some(template::lacking(template, &missing)),
            _ if keeper && row.starting == 0 && row.failure.is_none() => {
                Some(format!("fewer wait than are to; {}", log_of(scope)))
            }
            _ => None,
        };
    }
    Ok(row)
}

/// Where the keeper says why a start failed.
fn log_of(scope: &Scope) -> String {
    match &scope.state {
        None => "should it stay so, \"journalctl -u qubes-dispvm-keeper\" tells why".into(),
        Some(state) => format!("should it stay so, {}/log/preload-dispvm.log tells why", state.display()),
    }
}

/// In KiB (spec/admin-api.md, admin.vm.CurrentState); `None` when qubesd does not tell.
fn memory(admin: &Client, name: &QubeName) -> Option<u64> {
    let state = admin.call("admin.vm.CurrentState", "", name.as_str(), b"").ok()?;
    let state = String::from_utf8(state).ok()?;
    let memory = state.split(' ').find_map(|word| word.strip_prefix("mem="))?.trim().parse().ok()?;
    Some(memory).filter(|memory| *memory > 0)
}

impl Row {
    fn line(&self) -> String {
        let max = self.max.map_or_else(|| "?".into(), |max| max.to_string());
        let age = self.ages.map_or_else(|| "-".into(), |(old, new)| format!("{new}-{old} s"));
        let memory = self.memory.map_or_else(|| "-".into(), |memory| format!("{} MiB", memory / 1024));
        let line = format!(
            "{:<24} {max:>3} {:>5} {:>5} {:>8} {:>7} {:>4} {:>4} {age:>13} {memory:>9} {}",
            self.template,
            self.ready.len(),
            self.stale,
            self.starting,
            self.claimed,
            self.used,
            self.done,
            self.ready.join(" ")
        );
        format!("{}\n", line.trim_end())
    }

    fn json(&self) -> Value {
        json!({
            "template": self.template, "max": self.max, "ready": self.ready, "stale": self.stale,
            "starting": self.starting, "claimed": self.claimed, "used": self.used, "done": self.done,
            "oldest_s": self.ages.map(|(old, _)| old), "newest_s": self.ages.map(|(_, new)| new),
            "memory_kib": self.memory, "trouble": self.trouble,
            "failure": self.failure.as_ref().map(|(failure, age)| json!({
                "age_s": age, "time": failure.time, "step": failure.step, "cause": failure.cause, "remedy": failure.remedy,
            })),
        })
    }
}

const HEADING: &str =
    "TEMPLATE                 MAX READY STALE STARTING CLAIMED USED DONE           AGE    MEMORY WAITING\n";
