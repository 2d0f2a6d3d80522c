//! One disposable in the queue, as the small text file that an administrator can read with `cat`.

use names::{DomId, Generation, QubeName, Uuid};
use os::process::ProcessId;
use std::fmt;

/// What identifies a preloaded disposable (promise P3), and who claimed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, `dispNNNN`.
    pub name: QubeName,
    /// Its identity for life.
    pub uuid: Uuid,
    /// Its domain id.
    pub domid: DomId,
    /// The disposable template it was made of.
    pub template: QubeName,
    /// The template's generation when it was made.
    pub generation: Generation,
    /// When it was made: seconds since the epoch, for people.
    pub created: u64,
    /// Who took it; `None` while it waits.
    pub claimer: Option<ProcessId>,
}

/// Longest file that is read as an entry, in bytes. A real one has about 200.
pub const LONGEST: usize = 1024;

impl Entry {
    /// Reads the text form. `None` when a line is missing, doubled or is not what it should be.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut values: [Option<&str>; KEYS.len()] = [None; KEYS.len()];
        for line in text.lines() {
            let (key, value) = line.split_once('=')?;
            let index = KEYS.iter().position(|known| *known == key)?;
            let slot = values.get_mut(index)?;
            if slot.replace(value).is_some() {
                return None;
            }
        }
        let [name, uuid, domid, template, generation, created, claimer, _awake] = values;
        Some(Self {
            name: name?.parse().ok()?,
            uuid: uuid?.parse().ok()?,
            domid: domid?.parse().ok()?,
            template: template?.parse().ok()?,
            generation: generation?.parse().ok()?,
            created: created?.parse().ok()?,
            claimer: match claimer {
                Some(text) => Some(text.parse().ok()?),
                None => None,
            },
        })
    }

    /// What can still be read of a damaged text, so that its disposable is found and destroyed: of each line the first
    /// that makes sense. Never to be handed out.
    #[must_use]
    pub fn salvage(text: &str) -> Option<Self> {
        let mut kept = String::new();
        for key in KEYS.iter().take(6) {
            let line =
                text.lines().find(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with('=')))?;
            kept.push_str(line);
            kept.push('\n');
        }
        Self::parse(&kept)
    }

    /// The line that a claim appends.
    #[must_use]
    pub fn claimer_line(claimer: ProcessId) -> String {
        format!("claimer={claimer}\n")
    }
}

/// Who claimed the disposable of this text, even if the rest says no more: a reservation may be claimed before its
/// disposable has a name.
#[must_use]
pub fn claimer_of(text: &str) -> Option<ProcessId> {
    text.lines().find_map(|line| line.strip_prefix("claimer=")).and_then(|value| value.parse().ok())
}

/// Whether the text is that of a disposable that the keeper handed over running, without a pause.
#[must_use]
pub fn is_awake(text: &str) -> bool {
    text.lines().any(|line| line == AWAKE)
}

/// The line by which the keeper hands over a disposable that was claimed while it started.
pub(crate) const AWAKE: &str = "awake=yes";

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name={}", self.name)?;
        writeln!(f, "uuid={}", self.uuid)?;
        writeln!(f, "domid={}", self.domid)?;
        writeln!(f, "template={}", self.template)?;
        writeln!(f, "generation={}", self.generation)?;
        writeln!(f, "created={}", self.created)?;
        match self.claimer {
            Some(claimer) => f.write_str(&Self::claimer_line(claimer)),
            None => Ok(()),
        }
    }
}

const KEYS: [&str; 8] = ["name", "uuid", "domid", "template", "generation", "created", "claimer", "awake"];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample(number: u16) -> Entry {
        Entry {
            name: format!("disp{number}").parse().unwrap(),
            uuid: Uuid::from_random([u8::try_from(number % 256).unwrap(); 16]),
            domid: DomId::try_from(u32::from(number) + 1).unwrap(),
            template: "default-dvm".parse().unwrap(),
            generation: Generation(0),
            created: 1_700_000_000,
            claimer: None,
        }
    }

    #[test]
    fn text_round_trip() {
        let mut entry = sample(4821);
        assert_eq!(Entry::parse(&entry.to_string()), Some(entry.clone()));
        let claimer = ProcessId { pid: 77, start: 123 };
        let claimed = entry.to_string() + &Entry::claimer_line(claimer);
        entry.claimer = Some(claimer);
        assert_eq!(Entry::parse(&claimed), Some(entry));
    }

    #[test]
    fn p5_a_damaged_entry_still_says_what_is_to_be_destroyed() {
        let whole = sample(1).to_string();
        for damage in ["claim", "claimer=77@", "claimer=1@1\nclaimer=2@2\n", "\u{fffd}"] {
            let text = format!("{whole}{damage}");
            assert_eq!(Entry::parse(&text), None, "{damage}");
            assert_eq!(Entry::salvage(&text), Some(sample(1)), "{damage}");
        }
        assert_eq!(Entry::salvage(&whole[..40]), None);
    }

    #[test]
    fn p1_a_second_claimer_line_makes_an_entry_unreadable() {
        let line = Entry::claimer_line(ProcessId { pid: 1, start: 1 });
        assert_eq!(Entry::parse(&(sample(1).to_string() + &line + &line)), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Entry::parse(&text);
        }

        #[test]
        fn every_truncation_is_refused(cut in 0usize..150) {
            let whole = sample(7).to_string();
            let cut = cut.min(whole.len() - 2);
            // A cut inside the last number still reads as a number: that line is for people only.
            if let Some(entry) = Entry::parse(&whole[..cut]) {
                prop_assert_eq!(Entry { created: 0, ..entry }, Entry { created: 0, ..sample(7) });
            }
        }
    }
}
