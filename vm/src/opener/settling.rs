//! What becomes of the original and of what came back, on the disk (promise P12).

use super::exchange::Swap;
use super::keep::{NotKept, TemporaryFile};
use super::notices::Notices;
use super::original::Original;
use super::reception::Reception;
use super::settings::Settings;
use super::story;
use super::writers::writer;
use crate::decision::{Decision, Reason, Returned, decide};
use crate::shown::shown;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub(super) struct Settling<'a> {
    pub(super) settings: &'a Settings,
    pub(super) notices: &'a Notices,
}

impl Settling<'_> {
    /// The end of an opened file: the original is replaced, left alone, or what came back is kept beside it. Returns
    /// what was done and the size of the edited file.
    pub(super) fn settle(
        &self,
        original: &Original,
        reception: Reception,
        returned: Returned,
    ) -> (Decision, u64) {
        let decision = decide(returned);
        let mut received = returned.received;
        let emptied = reception.is_emptied();
        let Some(mut spot) = reception.into_file() else { return (decision, received) };
        if emptied && spot.file.set_len(0).is_ok() {
            received = 0;
        }
        (self.put_in_place(original, &mut spot.file, spot.guard, decision, received), received)
    }

    /// Carries the decision out, and returns what was done in fact.
    fn put_in_place(
        &self,
        original: &Original,
        file: &mut File,
        temporary: TemporaryFile,
        decision: Decision,
        received: u64,
    ) -> Decision {
        let mut reason = match decision {
            Decision::Keep(reason) => reason,
            Decision::Replace => Reason::ReplaceFailed,
            Decision::Dropped | Decision::Unchanged => return decision,
        };
        let mut replace = decision == Decision::Replace;
        if replace {
            if let Err(cause) = original.prepare(file) {
                self.notices
                    .say(&format_args!("cannot write {} to the disk: {cause}", shown(original.path())));
                replace = false;
            }
        }
        // The lasting name first, also for a moment only: whoever kills us now loses no edit.
        let kept = match temporary.keep(file, original.file_name()) {
            Ok(path) => path,
            Err(NotKept { cause, hidden }) => {
                self.notices.say(&format_args!("cannot name the edited copy: {cause}"));
                replace = false;
                match hidden.or_else(|| self.copy_elsewhere(original, file)) {
                    Some(path) => path,
                    None => return Decision::Keep(reason),
                }
            }
        };
        if replace {
            match original.replace_by(file, &kept) {
                Ok(Swap::Replaced) => {
                    if let others @ 1.. = original.other_names() {
                        self.notices.say(&story::OtherNames { original: original.path(), others });
                    }
                    return Decision::Replace;
                }
                Ok(swap) => return self.settle_race(original, file, kept, swap, received),
                Err(cause) => {
                    self.notices.say(&format_args!("cannot replace {}: {cause}", shown(original.path())));
                    reason = Reason::ReplaceFailed;
                }
            }
        }
        self.tell_kept(original, reason, &kept, received);
        Decision::Keep(reason)
    }

    /// Somebody wrote the original in the very instant of its replacement: both versions stay, and both are named.
    fn settle_race(
        &self,
        original: &Original,
        edited: &mut File,
        path: PathBuf,
        swap: Swap,
        received: u64,
    ) -> Decision {
        match swap {
            Swap::Replaced => return Decision::Replace,
            Swap::Overtaken => self.tell_kept(original, Reason::OriginalChanged, &path, received),
            Swap::Mixed => {
                self.notices.say(&story::Meanwhile(&path));
                if let Some(copy) = self.copy_elsewhere(original, edited) {
                    self.tell_kept(original, Reason::OriginalChanged, &copy, received);
                }
            }
            Swap::Overwritten => {
                let replaced = original.content().ok();
                if let Some(copy) =
                    replaced.and_then(|mut replaced| self.copy_elsewhere(original, &mut replaced))
                {
                    self.notices.say(&story::Meanwhile(&copy));
                }
                return Decision::Replace;
            }
        }
        Decision::Keep(Reason::OriginalChanged)
    }

    fn tell_kept(&self, original: &Original, reason: Reason, kept: &Path, received: u64) {
        let writer = if reason == Reason::OriginalOpen { writer(original.path()) } else { None };
        let original = original.path();
        self.notices.say(&story::Kept { reason, original, kept, received, writer });
    }

    /// The way out when a directory takes bytes, but no name.
    fn copy_elsewhere(&self, original: &Original, file: &mut File) -> Option<PathBuf> {
        let beside = original.directory().to_owned();
        let directories = [beside].into_iter().chain(self.settings.refuges());
        let copied = directories.into_iter().find_map(|directory| {
            let (temporary, mut copy) = TemporaryFile::create(&directory).ok()?;
            file.seek(SeekFrom::Start(0)).ok()?;
            io::copy(file, &mut copy).ok()?;
            temporary.keep(&copy, original.file_name()).ok()
        });
        if copied.is_none() {
            self.notices.say(&"a copy is lost: no directory takes it");
        }
        copied
    }
}
