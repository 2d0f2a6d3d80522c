//! Which tests are run, in which order, and how long: said on the command line, read in dom0.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// What was chosen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// A test is run when its name contains one of these; all are if there is none.
    pub(crate) names: Vec<String>,
    /// No test begins after so many minutes.
    pub(crate) minutes: Option<u64>,
    /// Another order for each number: where time is short, each run then reaches other tests.
    pub(crate) shuffle: Option<u64>,
}

impl Choice {
    /// Whether the test of this name is one of them.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }

    /// Puts the tests in their order; `name` tells that of each.
    pub(crate) fn order<T>(&self, tests: &mut [T], name: impl Fn(&T) -> String) {
        if let Some(number) = self.shuffle {
            tests.sort_by_cached_key(|test| {
                let mut hasher = DefaultHasher::new();
                (number, name(test)).hash(&mut hasher);
                hasher.finish()
            });
        }
    }

    /// Whether it is too late to begin another one.
    pub(crate) fn is_over(&self, after: Duration) -> bool {
        self.minutes.is_some_and(|minutes| after.as_secs() >= minutes * 60)
    }

    /// What was written by [`fmt::Display`].
    pub(crate) fn parse(text: &str) -> Self {
        let mut choice = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("name", name)) => choice.names.push(name.to_owned()),
                Some(("minutes", number)) => choice.minutes = number.parse().ok(),
                Some(("shuffle", number)) => choice.shuffle = number.parse().ok(),
                _ => {}
            }
        }
        choice
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.iter().try_for_each(|name| writeln!(f, "name {name}"))?;
        self.minutes.iter().try_for_each(|number| writeln!(f, "minutes {number}"))?;
        self.shuffle.iter().try_for_each(|number| writeln!(f, "shuffle {number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Choice;
    use std::time::Duration;

    #[test]
    fn what_is_written_is_read_back() {
        let some = Choice { names: vec!["a::".into(), "b c".into()], minutes: Some(9), shuffle: Some(7) };
        for choice in [Choice::default(), some] {
            assert_eq!(Choice::parse(&choice.to_string()), choice);
        }
    }

    #[test]
    fn names_are_parts_and_none_means_all() {
        let choice = Choice { names: vec!["kill::".into(), "p5_".into()], ..Choice::default() };
        assert!(choice.takes("kill::x") && choice.takes("serve::p5_x") && !choice.takes("serve::x"));
        assert!(Choice::default().takes("x"));
    }

    #[test]
    fn each_number_is_an_order_of_its_own_and_always_the_same() {
        let order = |shuffle| {
            let mut tests: Vec<u32> = (0..20).collect();
            Choice { shuffle, ..Choice::default() }.order(&mut tests, u32::to_string);
            tests
        };
        assert_eq!(order(None), (0..20).collect::<Vec<_>>());
        assert_eq!(order(Some(1)), order(Some(1)));
        assert_ne!(order(Some(1)), order(Some(2)));
        let mut sorted = order(Some(1));
        sorted.sort_unstable();
        assert_eq!(sorted, order(None));
    }

    #[test]
    fn time_is_over_when_it_is() {
        let choice = Choice { minutes: Some(2), ..Choice::default() };
        assert!(!choice.is_over(Duration::from_secs(119)) && choice.is_over(Duration::from_secs(120)));
        assert!(!Choice::default().is_over(Duration::MAX));
    }
}
