//! Who made a disposable, as tags (spec/disposables.md R14): set before the wake-up, so that no policy rule about its
//! creator is ever asked without them.

use admin::{AdminError, Client};
use names::{QubeName, QubeRef, Tag, Uuid};

/// `created-by-SOURCE` and `disp-created-by-SOURCE`. Pure.
#[must_use]
pub fn tags(source: &QubeName) -> Vec<Tag> {
    ["created-by", "disp-created-by"]
        .iter()
        .filter_map(|prefix| format!("{prefix}-{source}").parse().ok())
        .collect()
}

/// Gives a disposable the tags of its creator.
///
/// # Errors
/// What qubesd said; the disposable is then not to be handed over.
pub fn set_tags(admin: &Client, disposable: Uuid, source: &QubeName) -> Result<(), AdminError> {
    admin.tags_set(&QubeRef::Uuid(disposable), &tags(source))
}

#[cfg(test)]
mod tests {
    #[test]
    fn r14_both_tags() {
        for source in ["work", "a234567890123456789012345678901"] {
            let tags: Vec<String> =
                super::tags(&source.parse().unwrap()).iter().map(|tag| tag.as_str().to_owned()).collect();
            assert_eq!(tags, [format!("created-by-{source}"), format!("disp-created-by-{source}")]);
        }
    }
}
