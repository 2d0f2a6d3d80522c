//! Tags (spec/admin-api.md 4.4).

use super::{Refusal, Store};
use admin::ErrorClass;
use admin::protocol::Event;
use names::{QubeName, Tag};

impl Store {
    /// Gives a qube a tag; twice is fine.
    ///
    /// # Errors
    /// A tag that only dom0 may change.
    pub fn add_tag(&mut self, source: &QubeName, name: &QubeName, tag: &Tag) -> Result<(), Refusal> {
        check_permission(source, tag)?;
        if self.qube_mut(name)?.tags.insert(tag.clone()) {
            self.changed(name);
            self.fire(Event::new(name.as_str(), &format!("domain-tag-add:{tag}")).with("tag", tag.as_str()));
        }
        Ok(())
    }

    /// Takes a tag from a qube.
    ///
    /// # Errors
    /// It has it not, or only dom0 may change it.
    pub fn remove_tag(&mut self, source: &QubeName, name: &QubeName, tag: &Tag) -> Result<(), Refusal> {
        check_permission(source, tag)?;
        if !self.qube_mut(name)?.tags.remove(tag) {
            let message = format!("Tag not set for domain {name}: {tag}");
            return Err(Refusal::new(ErrorClass::QubesTagNotFoundError, message));
        }
        self.changed(name);
        self.fire(Event::new(name.as_str(), &format!("domain-tag-delete:{tag}")).with("tag", tag.as_str()));
        Ok(())
    }
}

fn check_permission(source: &QubeName, tag: &Tag) -> Result<(), Refusal> {
    if tag.as_str().starts_with("created-by-") && !source.is_dom0() {
        return Err(Refusal::denied("changing this tag is prohibited by qubes.ext.admin.AdminExtension"));
    }
    Ok(())
}
