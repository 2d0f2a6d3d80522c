//! A target by tag must not reach what the same call by name would not reach (promise P8).

use crate::call::{Call, Checked, Options};
use crate::decision::Decision;
use crate::matching::default_dispvm;
use crate::policy::Policy;
use crate::reason::DenyReason;
use crate::system::SystemInfo;

impl Policy {
    /// Asks again about each template that the provider in dom0 may turn the tag into: the caller's default_dispvm where it
    /// has the tag, else every template that has it. Each must be allowed by name as well, by a rule that sends the call to
    /// dom0; where the tag is left to the user, a name may be too.
    pub(crate) fn recheck_tag(
        &self,
        tag: &str,
        is_asked: bool,
        checked: &Checked<'_>,
        system: &SystemInfo,
    ) -> Result<(), DenyReason> {
        for template in templates(tag, checked.source, system) {
            let target = format!("@dispvm:{template}");
            let call = Call { target: &target, ..checked.call };
            let is_covered = match self.evaluate(&call, system, Options::default()) {
                Decision::Allow(allow) => allow.grant.is_for_dom0(),
                Decision::Ask(_) => is_asked,
                Decision::Deny(_) => false,
            };
            if !is_covered {
                let tag = checked.requested.to_string();
                return Err(DenyReason::TagMeansMore { tag, template: template.to_owned() });
            }
        }
        Ok(())
    }
}

/// None: the provider says so, with its remedy.
fn templates<'s>(tag: &str, source: &str, system: &'s SystemInfo) -> Vec<&'s str> {
    let fits = |info: &crate::QubeInfo| info.template_for_dispvms && info.has_tag(tag);
    match default_dispvm(source, system).and_then(|name| system.get(name)).filter(|info| fits(info)) {
        Some(default) => vec![default.name.as_str()],
        None => system.qubes().filter(|info| fits(info)).map(|info| info.name.as_str()).collect(),
    }
}
