//! What a qube has on disk, as volumes (spec/admin-api.md 4.7). `root` is this machine's own system, the same for all;
//! `private` is the home, which a disposable copies from its template at its start (spec/disposables.md R2).

use super::{Qube, Refusal, Store};
use admin::{PowerState, QubeClass};
use names::QubeName;

/// Of every qube but dom0.
pub(crate) const VOLUMES: [&str; 2] = ["root", "private"];

impl Store {
    /// The lines that describe a volume.
    ///
    /// # Errors
    /// No such qube, or no such volume.
    pub(crate) fn volume(&self, name: &QubeName, volume: &str) -> Result<String, Refusal> {
        let qube = self.qube(name)?;
        if qube.class == QubeClass::AdminVM || !VOLUMES.contains(&volume) {
            return Err(Refusal::denied(format!("Argument not in '{name} volumes'")));
        }
        let is_private = volume == "private";
        let is_disposable = qube.class == QubeClass::DispVM;
        let (rw, keeps) = (is_private, is_private && !is_disposable);
        let of_template = qube.template().filter(|_| !is_private || is_disposable);
        let source = of_template.map(|template| format!("{template}/{volume}")).unwrap_or_default();
        Ok([
            ("pool", "state-directory".into()),
            ("vid", format!("{name}/{volume}")),
            ("size", "0".into()),
            ("usage", "0".into()),
            ("rw", shown(rw)),
            ("source", source),
            ("path", String::new()),
            ("save_on_stop", shown(keeps)),
            ("snap_on_start", shown(is_disposable)),
            ("revisions_to_keep", "0".into()),
            ("ephemeral", shown(false)),
            ("is_outdated", shown(is_private && self.is_home_outdated(qube))),
        ]
        .map(|(key, value): (&str, String)| format!("{key}={value}\n"))
        .concat())
    }

    /// R90: the template's home has changed since the copy that a running disposable has.
    fn is_home_outdated(&self, qube: &Qube) -> bool {
        let template = qube.template().and_then(|template| self.get(&template));
        qube.class == QubeClass::DispVM
            && qube.runtime.state != PowerState::Halted
            && template.is_some_and(|template| qube.copy_of != Some(template.home_revision))
    }
}

fn shown(flag: bool) -> String {
    if flag { "True" } else { "False" }.into()
}
