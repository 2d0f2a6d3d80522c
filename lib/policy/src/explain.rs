//! Why a call is decided as it is: the rules that came near, and the one that decides.

use crate::call::{Call, Checked, Options};
use crate::decision::Decision;
use crate::matching::{matches_argument, matches_service, source_matches};
use crate::policy::Policy;
use crate::rule::Rule;
use crate::system::SystemInfo;

/// A decision with what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'p> {
    /// What is decided; exactly what [`Policy::evaluate`] says.
    pub decision: Decision,
    /// The rule that decides, if one does.
    pub rule: Option<&'p Rule>,
    /// The rules about the same service that were tried before it and did not match, in reading order. All of them,
    /// when no rule matched; none, when the call was refused before any rule was looked at.
    pub near: Vec<NearMiss<'p>>,
}

/// A rule about the right service that is not about this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearMiss<'p> {
    /// The rule.
    pub rule: &'p Rule,
    /// Its first column, from the left, that does not fit.
    pub column: MissedColumn,
}

/// The column that keeps a rule from deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissedColumn {
    /// It is about another argument.
    Argument,
    /// It is about other callers.
    Source,
    /// It is about other targets.
    Target,
}

impl Policy {
    /// Decides one call as [`Policy::evaluate`] does, and says why.
    #[must_use]
    pub fn explain(&self, call: &Call<'_>, system: &SystemInfo, options: Options) -> Explanation<'_> {
        let decision = self.evaluate(call, system, options);
        let Ok(checked) = Checked::new(call, system, options) else {
            return Explanation { decision, rule: None, near: Vec::new() };
        };
        // A place in a file may stand for two rules: a file that is included twice is read twice.
        let decides = |rule: &Rule| {
            decision.rule() == Some(&rule.origin)
                && missed(rule, &checked, system) == Some(MissedColumn::Target)
        };
        let rules = self.rules();
        let end = rules.iter().position(decides).unwrap_or(rules.len());
        let near = rules
            .iter()
            .take(end)
            .filter_map(|rule| Some(NearMiss { rule, column: missed(rule, &checked, system)? }))
            .collect();
        Explanation { rule: rules.get(end), near, decision }
    }
}

/// The first column that does not fit, with the target taken as one that does not: whoever asks knows which rule decides,
/// and that all before it did not. `None` for a rule about another service.
fn missed(rule: &Rule, checked: &Checked<'_>, system: &SystemInfo) -> Option<MissedColumn> {
    if !matches_service(rule, checked) {
        None
    } else if !matches_argument(rule, checked) {
        Some(MissedColumn::Argument)
    } else if !source_matches(&rule.source, checked.source, system) {
        Some(MissedColumn::Source)
    } else {
        Some(MissedColumn::Target)
    }
}
