//! The labels of Qubes OS and their colours (spec/policy.md 9.1).

/// Name and colour of each label. The first has the number 1.
const LABELS: [(&str, &str); 8] = [
    ("red", "0xcc0000"),
    ("orange", "0xf57900"),
    ("yellow", "0xedd400"),
    ("green", "0x73d216"),
    ("gray", "0x555753"),
    ("blue", "0x3465a4"),
    ("purple", "0x75507b"),
    ("black", "0x000000"),
];

/// All labels, in the order of their numbers.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    LABELS.iter().map(|(name, _)| *name)
}

/// The colour of a label, `0x` and six digits; `None` when there is no such label.
pub(crate) fn color(name: &str) -> Option<&'static str> {
    LABELS.iter().find(|(label, _)| *label == name).map(|(_, color)| *color)
}
