//! Numbers of disposables (spec/disposables.md R9-R12). Pure: randomness and time are passed in.

use std::collections::BTreeMap;

/// Numbers go from 0 to 9999.
pub const COUNT: u16 = 10_000;
/// How many numbers are drawn before giving up: the integer square root of [`COUNT`].
pub const TRIES: usize = 100;
/// How long the number of a removed disposable stays unused, in seconds: 7 days.
pub const GUARD_SECONDS: u64 = 604_800;

/// The numbers that were in use lately.
#[derive(Debug, Default)]
pub struct RecentIds {
    removed_at: BTreeMap<u16, u64>,
}

/// A number that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// The number.
    pub id: u16,
    /// When it had been in use before: how many seconds ago its disposable was removed.
    pub reused_after: Option<u64>,
}

impl RecentIds {
    /// Draws a number that no present disposable has and no recent one had; `None` when a hundred draws found none.
    ///
    /// `random` gives numbers below [`COUNT`]; `now` is a monotonic clock in seconds.
    pub fn draw(
        &self,
        mut random: impl FnMut() -> u16,
        now: u64,
        is_present: impl Fn(u16) -> bool,
    ) -> Option<Drawn> {
        for _ in 0..TRIES {
            let id = random();
            if id >= COUNT || is_present(id) {
                continue;
            }
            let reused_after = self.removed_at.get(&id).map(|removed| now.saturating_sub(*removed));
            if reused_after.is_none_or(|seconds| seconds >= GUARD_SECONDS) {
                return Some(Drawn { id, reused_after });
            }
        }
        None
    }

    /// Notes that the disposable with this number was removed. Number 0 is not noted (R11).
    pub fn removed(&mut self, id: u16, now: u64) {
        if id != 0 {
            self.removed_at.insert(id, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn r10_gives_up_after_a_hundred_draws() {
        let mut draws = 0;
        let drawn = RecentIds::default().draw(
            || {
                draws += 1;
                7
            },
            0,
            |id| id == 7,
        );
        assert_eq!((drawn, draws), (None, TRIES));
    }

    #[test]
    fn r11_guard_ends_after_seven_days_and_spares_zero() {
        let mut recent = RecentIds::default();
        recent.removed(5, 100);
        recent.removed(0, 100);
        let draw = |id: u16, now| recent.draw(|| id, now, |_| false);
        assert_eq!(draw(5, 100 + GUARD_SECONDS - 1), None);
        assert_eq!(draw(5, 100 + GUARD_SECONDS), Some(Drawn { id: 5, reused_after: Some(GUARD_SECONDS) }));
        assert_eq!(draw(0, 100), Some(Drawn { id: 0, reused_after: None }));
    }

    proptest! {
        #[test]
        fn r10_a_number_is_never_present_nor_recent(
            steps in proptest::collection::vec((0u16..COUNT, any::<bool>(), 0u64..GUARD_SECONDS), 1..300),
        ) {
            let (mut recent, mut now) = (RecentIds::default(), 0u64);
            let mut present = BTreeSet::new();
            let mut removed_at = BTreeMap::new();
            for (seed, remove, pass) in steps {
                now += pass;
                if remove && !present.is_empty() {
                    let id = *present.iter().nth(usize::from(seed) % present.len()).unwrap();
                    present.remove(&id);
                    recent.removed(id, now);
                    removed_at.insert(id, now);
                    continue;
                }
                // A narrow range, so that numbers do collide.
                let mut next = seed;
                let random = || { next = (next.wrapping_mul(31).wrapping_add(7)) % 40; next };
                if let Some(drawn) = recent.draw(random, now, |id| present.contains(&id)) {
                    prop_assert!(present.insert(drawn.id));
                    if let Some(at) = removed_at.get(&drawn.id).filter(|_| drawn.id != 0) {
                        prop_assert!(now - at >= GUARD_SECONDS);
                    }
                }
            }
        }
    }
}
