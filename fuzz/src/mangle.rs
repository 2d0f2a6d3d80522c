//! Makes something new out of what there is.

use crate::random::Random;

/// Words that parsers look for.
const DICTIONARY: &[&str] = &[
    "*",
    "+",
    "@anyvm",
    "@adminvm",
    "@default",
    "@dispvm",
    "@dispvm:",
    "@dispvm:@tag:",
    "@tag:",
    "@type:",
    "uuid:",
    "00000000-0000-0000-0000-000000000000",
    "allow",
    "deny",
    "ask",
    "target=",
    "default_target=",
    "user=",
    "notify=",
    "autostart=",
    "yes",
    "no",
    "!include ",
    "!include-dir ",
    "!include-service ",
    "!compat-4.0",
    "$include:",
    "$anyvm",
    ",",
    "work",
    "vault",
    "dvm",
    "dom0",
    "test.S",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "#",
    "=",
    "..",
    "/",
    "\0",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "\u{e9}",
    "source=",
    "intended_target=",
    "service_and_arg=",
    "requested_source=",
    "result=",
    "autostart=True",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "1e999",
    "-0",
    "allow:",
    "deny",
];

/// A few random changes to one of the corpus, perhaps with a part of another.
pub(crate) fn mangle(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut text = random.pick(corpus);
    for _ in 0..random.below(8) {
        let at = random.below(text.len() + 1);
        let end = (at + random.below(24)).min(text.len());
        match random.below(8) {
            0 => drop(text.drain(at..end)),
            1 => drop(text.splice(at..at, random.pick(DICTIONARY).bytes())),
            2 => drop(text.splice(at..end, random.pick(DICTIONARY).bytes())),
            3 => {
                if let Some(byte) = text.get_mut(at) {
                    *byte = random.byte();
                }
            }
            4 => {
                // A piece again, a few times: lines, brackets, words.
                let piece = text.get(at..end).unwrap_or_default().repeat(random.below(40));
                drop(text.splice(at..at, piece));
            }
            5 => text.truncate(at),
            6 => {
                let other = random.pick(corpus);
                let from = random.below(other.len() + 1);
                drop(text.splice(at..at, other.get(from..).unwrap_or_default().iter().copied()));
            }
            _ => text.insert(at, random.byte()),
        }
    }
    text.truncate(LONGEST);
    text
}

const LONGEST: usize = 64 * 1024;
