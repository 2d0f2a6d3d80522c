//! A policy that follows its files.

use crate::call::{Call, Options};
use crate::decision::Decision;
use crate::directories::Directories;
use crate::error::LoadError;
use crate::load::LEGACY_DIRECTORY;
use crate::policy::Policy;
use crate::system::SystemInfo;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keeps a loaded policy and loads it again when one of its files or directories has changed (time, inode or size).
///
/// While the files are broken every call is denied, and each call tries to load them again.
#[derive(Debug)]
pub struct PolicyCache {
    directories: Vec<PathBuf>,
    legacy: PathBuf,
    loaded: Option<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    policy: Arc<Policy>,
    files: Directories,
    /// The files changed so shortly before they were read that a further change could bear the same time.
    young: bool,
}

impl PolicyCache {
    /// A cache for the policy of these directories, highest rank first. Nothing is read before it is asked for.
    #[must_use]
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories, legacy: PathBuf::from(LEGACY_DIRECTORY), loaded: None }
    }

    /// The same cache with another directory of Qubes 4.0 for `!compat-4.0`.
    #[must_use]
    pub fn with_legacy_directory(mut self, legacy: PathBuf) -> Self {
        self.legacy = legacy;
        self
    }

    /// The policy as its files are now. Unchanged files cost one `stat` each.
    ///
    /// # Errors
    /// Why they cannot be loaded.
    pub fn policy(&mut self) -> Result<Arc<Policy>, LoadError> {
        if let Some(loaded) = &self.loaded {
            if !loaded.young && loaded.files.unchanged() {
                return Ok(loaded.policy.clone());
            }
        }
        self.loaded = None;
        let before = SystemTime::now();
        let mut files = Directories::new();
        let policy = Arc::new(Policy::from_source(&mut files, &self.directories, &self.legacy)?);
        let young = is_young(files.latest_change(), before);
        self.loaded = Some(Loaded { policy: policy.clone(), files, young });
        Ok(policy)
    }

    /// Decides a call with the policy as its files are now; broken files deny it and name their line.
    pub fn evaluate(&mut self, call: &Call<'_>, system: &SystemInfo, options: Options) -> Decision {
        match self.policy() {
            Ok(policy) => policy.evaluate(call, system, options),
            Err(error) => Decision::broken(error),
        }
    }
}

/// File times advance in steps of up to 10 ms (a tick of the kernel); a change within the step of the last one that was
/// read would go unnoticed.
fn is_young((seconds, nanoseconds): (i64, i64), read: SystemTime) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u64::try_from(nanoseconds)) else {
        return false;
    };
    let changed = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanoseconds));
    read.duration_since(UNIX_EPOCH).is_ok_and(|read| changed.saturating_add(STEP) >= read)
}

const STEP: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_within_a_step_of_the_kernels_clock_is_young() {
        let read = UNIX_EPOCH + Duration::new(100, 20_000_000);
        for (changed, young) in [
            ((100, 20_000_000), true),
            ((99, 990_000_000), true),
            ((99, 900_000_000), false),
            ((0, 0), false),
            ((-5, 0), false),
            // A clock that was set back: nothing can be said, so the files are read each time.
            ((200, 0), true),
            ((i64::MAX, 999_999_999), true),
        ] {
            assert_eq!(is_young(changed, read), young, "{changed:?}");
        }
    }
}
