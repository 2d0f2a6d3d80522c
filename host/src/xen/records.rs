//! What is known of each domain before it is made, on disk, for a later host (promise P5).

use crate::layout::{self, Layout};
use names::{QubeName, Uuid};
use std::fs;
use std::io;
use std::path::PathBuf;

/// Two directories with a file for each domain: its identity, and its configuration for `xl`.
#[derive(Debug)]
pub(super) struct Records {
    identities: PathBuf,
    configurations: PathBuf,
}

impl Records {
    pub(super) fn of(layout: &Layout) -> Self {
        let top = layout.xen();
        Self { identities: top.join("identities"), configurations: top.join("configurations") }
    }

    pub(super) fn make(&self) -> io::Result<()> {
        layout::make(&self.identities)?;
        layout::make(&self.configurations)
    }

    /// Notes a domain that is about to be made; the path of its configuration.
    pub(super) fn write(&self, name: &QubeName, uuid: Uuid, text: &str) -> Result<PathBuf, String> {
        let configuration = self.configurations.join(name.as_str());
        fs::write(&configuration, text)
            .and_then(|()| fs::write(self.identities.join(name.as_str()), uuid.to_string()))
            .map_err(|error| format!("{}: {error}", configuration.display()))?;
        Ok(configuration)
    }

    /// Whose domains may exist.
    pub(super) fn names(&self) -> Vec<QubeName> {
        let Ok(entries) = fs::read_dir(&self.identities) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// The identity that was noted; `None` when there is none, or not all of it.
    pub(super) fn uuid(&self, name: &QubeName) -> Option<Uuid> {
        fs::read_to_string(self.identities.join(name.as_str())).ok()?.trim().parse().ok()
    }

    pub(super) fn remove(&self, name: &QubeName) {
        for directory in [&self.configurations, &self.identities] {
            match fs::remove_file(directory.join(name.as_str())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    log::warn!("{}: {name}: {error}", directory.display());
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_what_was_noted_is_found_and_a_torn_note_is_none() {
        let top = tempfile::tempdir().unwrap();
        let records = Records::of(&Layout::new(top.path()));
        assert!(records.names().is_empty());
        records.make().unwrap();
        let (one, other): (QubeName, QubeName) = ("disp1.x".parse().unwrap(), "disp1".parse().unwrap());
        let path = records.write(&one, Uuid::DOM0, "name = 1").unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "name = 1");
        records.write(&other, Uuid::DOM0, "").unwrap();
        fs::write(records.identities.join("disp1"), "0000").unwrap();
        assert_eq!((records.uuid(&one), records.uuid(&other)), (Some(Uuid::DOM0), None));
        records.remove(&one);
        records.remove(&one);
        assert_eq!(records.names(), [other]);
    }
}
