//! What keeps the queue full, fresh and clean: decisions only. The driver is `services/preload-dispvm`.
//!
//! The keeper is level-triggered: it looks at what lies in the places, compares that with what should lie there, and
//! acts on the difference. What it remembers between two looks (delays, back-off) may be lost without harm, so a
//! crash at any point is repaired by the next look (promise P5).

mod fingerprint;
mod limits;
mod memory;
mod plan;
pub mod qmemman;

pub use fingerprint::fingerprint;
pub use limits::{Delay, FeatureError, Limits, parse_delay, parse_max, parse_threshold};
pub use memory::Failure;
pub use plan::{Action, Domain, Keeper, Plan, Seen, View};

/// Whether a change of this property of a template makes its waiting disposables stale
/// (spec/disposables.md R90, R91, R94).
#[must_use]
pub fn property_matters(name: &str) -> bool {
    !IGNORED_PROPERTIES.contains(&name)
}

/// Properties that differ between a template and its disposable by nature (spec/disposables.md R91).
const IGNORED_PROPERTIES: [&str; 26] = [
    "autostart",
    "backup_timestamp",
    "default_dispvm",
    "dispid",
    "gateway",
    "gateway6",
    "icon",
    "include_in_backups",
    "installed_by_rpm",
    "ip",
    "ip6",
    "klass",
    "name",
    "qid",
    "start_time",
    "stubdom_uuid",
    "stubdom_xid",
    "template",
    "template_for_dispvms",
    "updateable",
    "uuid",
    "visible_gateway",
    "visible_gateway6",
    "visible_ip",
    "visible_ip6",
    "xid",
];
