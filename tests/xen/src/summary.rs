//! What a run came to, as `cargo test` would say it.

use crate::report::Line;
use std::fmt;

/// Tests that ended, and the one that runs.
#[derive(Default)]
pub(crate) struct Summary {
    expected: Option<usize>,
    passed: usize,
    skipped: usize,
    late: usize,
    failed: Vec<(String, Vec<String>)>,
    running: Option<(String, Vec<String>)>,
    done: bool,
}

/// What a test says that does not fit on Xen.
const SKIPPED: &str = "SKIPPED on Xen: ";

impl Summary {
    /// Takes in a line; what is to be said at once.
    pub(crate) fn take(&mut self, line: Line) -> Option<String> {
        match line {
            Line::Tests(number) => {
                self.expected = Some(number);
                Some(format!("running {number} tests in dom0"))
            }
            Line::Begin(name) => {
                self.running = Some((name, Vec::new()));
                None
            }
            Line::Log(text) => {
                // Not always at the start of a line: libtest writes there too.
                let figure = text.split_once("figure: ").map(|(_, figure)| format!("     {figure}"));
                if let Some((_, log)) = &mut self.running {
                    log.push(text);
                }
                figure
            }
            Line::End { passed, ms } => {
                let (name, log) = self.running.take()?;
                let seconds = Seconds(ms);
                let reason = log.iter().find_map(|text| Some(text.split_once(SKIPPED)?.1));
                if let Some(reason) = reason.filter(|_| passed) {
                    self.skipped += 1;
                    Some(format!("test {name} ... left out: {reason}"))
                } else if passed {
                    self.passed += 1;
                    Some(format!("test {name} ... ok ({seconds})"))
                } else {
                    let said = format!("test {name} ... FAILED ({seconds})");
                    self.failed.push((name, log));
                    Some(said)
                }
            }
            Line::Late(name) => {
                self.late += 1;
                Some(format!("test {name} ... not reached: the time is over"))
            }
            Line::Done => {
                self.done = true;
                None
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Whether each test that was announced and reached has passed, and there was one.
    pub(crate) fn good(&self) -> bool {
        self.done
            && self.failed.is_empty()
            && self.passed > 0
            && self.expected == Some(self.passed + self.skipped + self.late)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unended = self.running.iter().map(|(name, log)| (name, log));
        for (name, log) in self.failed.iter().map(|(name, log)| (name, log)).chain(unended) {
            writeln!(f, "\n---- {name} ----\n{}", log.join("\n"))?;
        }
        let verdict = if self.good() { "ok" } else { "FAILED" };
        write!(
            f,
            "\ntest result: {verdict}. {} passed; {} failed; {} left out",
            self.passed,
            self.failed.len(),
            self.skipped
        )?;
        if self.late > 0 {
            write!(f, "; {} not reached", self.late)?;
        }
        for (name, _) in &self.failed {
            write!(f, "\n    {name}")?;
        }
        if let Some((name, _)) = &self.running {
            write!(f, "\n    {name} did not end")?;
        }
        match self.expected {
            Some(number) if number == self.passed + self.skipped + self.late + self.failed.len() => Ok(()),
            Some(number) => write!(f, "\n    of {number} tests"),
            None => write!(f, "\n    dom0 did not come up"),
        }
    }
}

struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} s", self.0 / 1000, self.0 % 1000 / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;
    use crate::report::Line;

    fn after(lines: impl IntoIterator<Item = Line>) -> Summary {
        let mut summary = Summary::default();
        for line in lines {
            summary.take(line);
        }
        summary
    }

    fn begin() -> Line {
        Line::Begin("a::b".into())
    }

    #[test]
    fn all_that_was_announced_must_pass() {
        let end = || Line::End { passed: true, ms: 1 };
        assert!(after([Line::Tests(1), begin(), end(), Line::Done]).good());
        assert!(!after([Line::Tests(2), begin(), end(), Line::Done]).good());
        assert!(!after([Line::Tests(1), begin(), end()]).good());
        assert!(!after([Line::Tests(0), Line::Done]).good());
        assert!(!after([]).good());
    }

    #[test]
    fn a_failure_shows_its_words() {
        let end = Line::End { passed: false, ms: 2345 };
        let summary = after([Line::Tests(1), begin(), Line::Log("it broke".into()), end, Line::Done]);
        assert!(!summary.good());
        let text = summary.to_string();
        assert!(text.contains("---- a::b ----\nit broke\n") && text.contains("0 passed; 1 failed"), "{text}");
    }

    #[test]
    fn a_test_that_does_not_fit_is_counted_apart_and_one_that_passed_is_needed() {
        let end = || Line::End { passed: true, ms: 1 };
        let skipped = || [begin(), Line::Log("SKIPPED on Xen: no script(1)".into()), end()];
        let mut lines = vec![Line::Tests(2)];
        lines.extend(skipped());
        lines.extend([begin(), end(), Line::Done]);
        let summary = after(lines);
        assert!(
            summary.good() && summary.to_string().contains("1 passed; 0 failed; 1 left out"),
            "{summary}"
        );
        let mut lines = vec![Line::Tests(1)];
        lines.extend(skipped());
        lines.push(Line::Done);
        assert!(!after(lines).good());
    }

    #[test]
    fn a_test_that_was_not_reached_is_named_and_is_no_failure() {
        let end = Line::End { passed: true, ms: 1 };
        let late = Line::Late("a::c".into());
        let summary = after([Line::Tests(2), begin(), end, late.clone(), Line::Done]);
        assert!(summary.good() && summary.to_string().contains("0 left out; 1 not reached"), "{summary}");
        assert!(!after([Line::Tests(1), late, Line::Done]).good(), "nothing was tested");
    }

    #[test]
    fn a_test_that_did_not_end_is_named() {
        let text = after([Line::Tests(2), begin(), Line::Log("waits".into())]).to_string();
        assert!(text.contains("a::b did not end") && text.contains("waits"), "{text}");
    }
}
