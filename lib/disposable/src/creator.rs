//! Who made a disposable, and through how many others, as tags (spec/disposables.md R14; users.md S4, S5): set before the
//! wake-up, so that no policy rule about its creator is ever asked without them.
//!
//! A disposable may open a disposable. Limits per calling qube do not hold such a chain, in which every call comes from
//! another qube; so its length is limited, and each of its calls counts for the qube at its beginning too.

use crate::error::CallError;
use admin::{AdminError, Asked, Client};
use names::{QubeName, QubeRef, Tag, Uuid};
use policy::{QubeInfo, SystemInfo};

const DEPTH: &str = "disp-depth-";
const ORIGIN: &str = "disp-origin-";
const CREATED_BY: &str = "disp-created-by-";
/// Creators of creators are followed so far. Tags that name each other in a circle must come to an end.
const FARTHEST: usize = 64;

/// The caller of a disposable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creator {
    /// The qube that calls.
    pub source: QubeName,
    /// The qube at the beginning of the chain; the caller itself unless it is a disposable that another one made.
    pub origin: QubeName,
    /// How many disposables there are from the origin to the new one, itself included.
    pub depth: usize,
}

impl Creator {
    /// Follows the tags from `source` back. Pure.
    #[must_use]
    pub fn of(source: &QubeName, system: &SystemInfo) -> Self {
        let (origin, depth) = chain(source, system, FARTHEST);
        Self { source: source.clone(), origin, depth: depth + 1 }
    }

    /// Refuses a chain of more than `most` disposables; 0 is any number. Pure.
    ///
    /// # Errors
    /// The refusal.
    pub fn check(&self, most: usize) -> Result<(), CallError> {
        if most == 0 || self.depth <= most {
            return Ok(());
        }
        let cause =
            format!("{} disposables, each opened from the one before, began with {}", most, self.origin);
        Err(CallError::refused("open another disposable for", &self.source, cause)
            .remedy("chain-depth in dispvm.toml is the limit"))
    }

    /// `created-by-SOURCE` and `disp-created-by-SOURCE`; in a chain `disp-depth-N` and `disp-origin-QUBE` too. Pure.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        let mut tags = vec![format!("created-by-{}", self.source), format!("{CREATED_BY}{}", self.source)];
        if self.depth > 1 {
            tags.extend([format!("{DEPTH}{}", self.depth), format!("{ORIGIN}{}", self.origin)]);
        }
        tags.iter().filter_map(|tag| tag.parse().ok()).collect()
    }
}

/// Where the chain to this qube begins, and how many disposables it has.
fn chain(qube: &QubeName, system: &SystemInfo, farthest: usize) -> (QubeName, usize) {
    let Some(info) = system.get(qube.as_str()).filter(|info| info.class == "DispVM") else {
        return (qube.clone(), 0);
    };
    // Our own programs in dom0 made it, for somebody or not: that tag says nothing.
    let creator = tagged(info, CREATED_BY).find(|&name| name != "dom0");
    let creator: Option<QubeName> = creator.and_then(|name| name.parse().ok());
    if let Some(depth) = tagged(info, DEPTH).filter_map(|depth| depth.parse().ok()).max() {
        let origin = tagged(info, ORIGIN).next().and_then(|name| name.parse().ok());
        return (origin.or(creator).unwrap_or_else(|| qube.clone()), depth);
    }
    match creator {
        Some(creator) if farthest > 0 => {
            let (origin, depth) = chain(&creator, system, farthest - 1);
            (origin, depth + 1)
        }
        // One that the administrator made or started begins a chain as any qube does.
        _ => (qube.clone(), 0),
    }
}

fn tagged<'a>(info: &'a QubeInfo, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    info.tags.iter().filter_map(move |tag| tag.strip_prefix(prefix))
}

/// The tags of a creator on their way to a disposable: all are asked for before the first answer is waited for.
#[derive(Debug)]
pub struct Tagging(Vec<Asked>);

impl Tagging {
    /// Asks qubesd for the tags.
    ///
    /// # Errors
    /// It cannot be asked; the disposable is then not to be handed over.
    pub fn begin(admin: &Client, disposable: Uuid, creator: &Creator) -> Result<Self, AdminError> {
        let disposable = QubeRef::Uuid(disposable);
        creator
            .tags()
            .iter()
            .map(|tag| admin.ask_tag_set(&disposable, tag))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Waits until the disposable has them all.
    ///
    /// # Errors
    /// What qubesd said; the disposable is then not to be handed over.
    pub fn finish(self) -> Result<(), AdminError> {
        self.0.into_iter().try_for_each(|asked| asked.answer().map(drop))
    }
}

/// Gives a disposable the tags of its creator.
///
/// # Errors
/// As [`Tagging`].
pub fn set_tags(admin: &Client, disposable: Uuid, creator: &Creator) -> Result<(), AdminError> {
    Tagging::begin(admin, disposable, creator)?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(qubes: &[(&str, &str, &[&str])]) -> SystemInfo {
        let qubes = qubes.iter().map(|(name, class, tags)| {
            format!(
                r#""{name}":{{"type":"{class}","tags":{tags:?},"template_for_dispvms":false,"default_dispvm":null}}"#
            )
        });
        let qubes: Vec<String> = qubes.collect();
        SystemInfo::from_json(format!(r#"{{"domains":{{{}}}}}"#, qubes.join(",")).as_bytes()).unwrap()
    }

    fn creator(source: &str, system: &SystemInfo) -> (String, usize, Vec<String>) {
        let creator = Creator::of(&source.parse().unwrap(), system);
        let tags = creator.tags().iter().map(|tag| tag.as_str().to_owned()).collect();
        (creator.origin.to_string(), creator.depth, tags)
    }

    #[test]
    fn r14_both_tags() {
        for source in ["work", "a234567890123456789012345678901"] {
            let (origin, depth, tags) = creator(source, &system(&[(source, "AppVM", &["disp-depth-9"])]));
            assert_eq!((origin.as_str(), depth), (source, 1));
            assert_eq!(tags, [format!("created-by-{source}"), format!("disp-created-by-{source}")]);
        }
    }

    #[test]
    fn s4_a_chain_is_followed_to_its_origin_also_when_links_are_gone() {
        let there = system(&[
            ("work", "AppVM", &[]),
            ("disp1", "DispVM", &["disp-created-by-dom0", "disp-created-by-work"]),
            ("menu", "DispVM", &["disp-created-by-dom0"]),
            ("disp2", "DispVM", &["disp-created-by-disp1"]),
            ("disp3", "DispVM", &["disp-created-by-disp7", "disp-depth-5", "disp-origin-vault"]),
            ("sys-net", "DispVM", &[]),
            ("odd", "DispVM", &["disp-created-by-odd"]),
        ]);
        let first = |source| {
            let (origin, depth, _) = creator(source, &there);
            (origin, depth)
        };
        assert_eq!(first("work"), ("work".into(), 1));
        assert_eq!(first("disp1"), ("work".into(), 2));
        assert_eq!(first("disp2"), ("work".into(), 3));
        assert_eq!(first("disp3"), ("vault".into(), 6));
        assert_eq!(first("menu"), ("menu".into(), 1));
        assert_eq!(first("sys-net"), ("sys-net".into(), 1));
        assert_eq!(first("gone"), ("gone".into(), 1));
        assert!(first("odd").1 > 60, "a circle ends, and not as a short chain");
        let tags = creator("disp3", &there).2;
        assert_eq!(tags[2..], ["disp-depth-6", "disp-origin-vault"]);
    }

    #[test]
    fn s4_a_chain_is_cut_where_it_is_to_be() {
        let there = system(&[("disp1", "DispVM", &["disp-depth-3", "disp-origin-work"])]);
        let creator = Creator::of(&"disp1".parse().unwrap(), &there);
        assert!([0, 4, 5].iter().all(|&most| creator.check(most).is_ok()));
        let refused = creator.check(3).unwrap_err();
        assert_eq!(refused.exit_code(), 126);
        assert!(
            refused.to_string().contains("began with work") && refused.to_string().contains("chain-depth")
        );
    }
}
