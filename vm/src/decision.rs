//! What becomes of the bytes that came back (promise P12).

use crate::exit_code::{FAILURE, SUCCESS};

/// How a call ended, as far as the original is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Returned {
    /// The call's exit code.
    pub(crate) code: u8,
    /// Bytes that came back.
    pub(crate) received: u64,
    pub(crate) view_only: bool,
    /// Whether the other side took all that was sent.
    pub(crate) sent_whole: bool,
    /// Whether all that came back is in the temporary file.
    pub(crate) kept_whole: bool,
    /// Whether the temporary file is in the directory of the original.
    pub(crate) beside: bool,
    pub(crate) original: Standing,
}

/// Whether the original is still what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Same,
    /// The same, but another program has it open for writing: its next save would go nowhere, or over the edit.
    Open,
    Changed,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Looked at only: what came back was dropped as it came.
    Dropped,
    /// Nothing came back: the original stays as it is.
    Unchanged,
    /// What came back takes the place of the original.
    Replace,
    /// The original stays; what came back is kept under another name.
    Keep(Reason),
}

/// Why an edited file does not take the place of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    CallFailed(u8),
    NotKeptWhole,
    NotSentWhole,
    Elsewhere,
    OriginalOpen,
    OriginalChanged,
    OriginalGone,
    ReplaceFailed,
}

pub(crate) fn decide(returned: Returned) -> Decision {
    if returned.view_only {
        return Decision::Dropped;
    }
    if returned.received == 0 {
        return Decision::Unchanged;
    }
    if returned.code != SUCCESS {
        return Decision::Keep(Reason::CallFailed(returned.code));
    }
    if !returned.kept_whole {
        return Decision::Keep(Reason::NotKeptWhole);
    }
    if !returned.sent_whole {
        return Decision::Keep(Reason::NotSentWhole);
    }
    match returned.original {
        Standing::Open => Decision::Keep(Reason::OriginalOpen),
        Standing::Changed => Decision::Keep(Reason::OriginalChanged),
        Standing::Gone => Decision::Keep(Reason::OriginalGone),
        Standing::Same if !returned.beside => Decision::Keep(Reason::Elsewhere),
        Standing::Same => Decision::Replace,
    }
}

/// The command's exit code: the call's own; 1 when the call went well but the edit is not where the user expects it.
pub(crate) fn exit_code(call: u8, decision: Decision) -> u8 {
    match decision {
        Decision::Keep(_) if call == SUCCESS => FAILURE,
        _ => call,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FINE: Returned = Returned {
        code: 0,
        received: 1,
        view_only: false,
        sent_whole: true,
        kept_whole: true,
        beside: true,
        original: Standing::Same,
    };

    #[test]
    fn p12_cases() {
        for (returned, decision, code) in [
            (FINE, Decision::Replace, 0),
            (Returned { received: 0, ..FINE }, Decision::Unchanged, 0),
            (Returned { received: 0, code: 126, ..FINE }, Decision::Unchanged, 126),
            (Returned { view_only: true, ..FINE }, Decision::Dropped, 0),
            (Returned { code: 3, ..FINE }, Decision::Keep(Reason::CallFailed(3)), 3),
            (Returned { kept_whole: false, ..FINE }, Decision::Keep(Reason::NotKeptWhole), 1),
            (Returned { sent_whole: false, ..FINE }, Decision::Keep(Reason::NotSentWhole), 1),
            (Returned { beside: false, ..FINE }, Decision::Keep(Reason::Elsewhere), 1),
            (Returned { original: Standing::Open, ..FINE }, Decision::Keep(Reason::OriginalOpen), 1),
            (Returned { original: Standing::Changed, ..FINE }, Decision::Keep(Reason::OriginalChanged), 1),
            (Returned { original: Standing::Gone, ..FINE }, Decision::Keep(Reason::OriginalGone), 1),
        ] {
            assert_eq!(decide(returned), decision, "{returned:?}");
            assert_eq!(exit_code(returned.code, decision), code, "{returned:?}");
        }
    }

    proptest! {
        #[test]
        fn p12_only_a_flawless_call_replaces(code: u8, received: u64, flags: [bool; 4], standing in 0usize..4) {
            let original = [Standing::Same, Standing::Open, Standing::Changed, Standing::Gone][standing];
            let [view_only, sent_whole, kept_whole, beside] = flags;
            let returned = Returned { code, received, view_only, sent_whole, kept_whole, beside, original };
            let flawless = code == 0 && received > 0 && !view_only && sent_whole && kept_whole && beside
                && original == Standing::Same;
            let decision = decide(returned);
            prop_assert_eq!(decision == Decision::Replace, flawless);
            if received > 0 && !view_only && !flawless {
                prop_assert!(matches!(decision, Decision::Keep(_)));
                prop_assert_ne!(exit_code(code, decision), 0);
            }
        }
    }
}
