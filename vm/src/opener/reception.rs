//! What comes back, on its way to the disk.

use super::keep::TemporaryFile;
use super::original::Original;
use super::settings::Settings;
use crate::emptied::Emptied;
use crate::landing::{Landing, Spot};
use std::io;

/// Takes the reply as it comes: beside the original where possible, else in `$HOME`, else in `/tmp`. No file is made
/// before the first byte, so that an unchanged file leaves no trace.
pub(super) struct Reception {
    landing: Landing<TemporaryFile>,
    view_only: bool,
    received: u64,
    limit: u64,
    whole: bool,
    emptied: Emptied,
    /// The beginning of the reply, a little more than means "emptied".
    begin: Vec<u8>,
}

impl Reception {
    pub(super) fn new(original: &Original, view_only: bool, emptied: Emptied, settings: &Settings) -> Self {
        let mut directories = vec![original.directory().to_owned()];
        directories.extend(settings.refuges());
        let landing = Landing::new(directories, TemporaryFile::create).sparing();
        let limit = settings.reply_limit(original.size());
        Self { landing, view_only, received: 0, limit, whole: true, emptied, begin: Vec::new() }
    }

    /// Takes some more bytes. After an error no more are wanted; what came before is kept.
    pub(super) fn accept(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.view_only {
            return Ok(());
        }
        let wanted = (self.emptied.reply().len() + 1).saturating_sub(self.begin.len());
        self.begin.extend(bytes.iter().take(wanted));
        self.received += bytes.len() as u64;
        let taken = if self.received > self.limit {
            Err(io::Error::other(format!("more than {} bytes came back", self.limit)))
        } else {
            self.landing.write(bytes)
        };
        self.whole = self.whole && taken.is_ok();
        taken
    }

    /// Bytes that are in the file; 0 when only looking was asked for.
    pub(super) fn received(&self) -> u64 {
        self.landing.received()
    }

    /// Whether all that came is in the file.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Whether all that came says that the file is empty now.
    pub(super) fn is_emptied(&self) -> bool {
        self.begin == self.emptied.reply()
    }

    /// Whether the file, if there is one, is in the directory of the original.
    pub(super) fn is_beside(&self) -> bool {
        self.landing.is_in_first()
    }

    pub(super) fn into_file(self) -> Option<Spot<TemporaryFile>> {
        self.landing.into_spot()
    }
}
