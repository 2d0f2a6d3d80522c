//! Which host and which templates a command is about. Pure.

use crate::Failure;
use crate::options::{shown, unknown};
use names::QubeName;
use std::ffi::OsString;
use std::path::PathBuf;

/// The words after `status`, `watch`, `refresh`, `drain` and `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// `--state`: the directory of an embedded host.
    pub state: Option<PathBuf>,
    /// `--json`: for programs.
    pub json: bool,
    /// Only these; none means all.
    pub templates: Vec<QubeName>,
}

impl Scope {
    /// Reads the words after the command's name.
    ///
    /// # Errors
    /// The first word that cannot be meant.
    pub fn parse(words: &[OsString]) -> Result<Self, Failure> {
        let mut scope = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.to_str().unwrap_or_default() {
                "--json" => scope.json = true,
                "--state" => {
                    let state = words.next().filter(|state| !state.is_empty());
                    let state = state.ok_or_else(|| Failure::usage("--state needs a value"))?;
                    scope.state = Some(state.into());
                }
                text if text.starts_with("--state=") && text.len() > "--state=".len() => {
                    scope.state = text.strip_prefix("--state=").map(PathBuf::from);
                }
                text if text.starts_with('-') => return Err(unknown("option", Some(word))),
                text => {
                    let name = text.parse();
                    let failed = |error| Failure::usage(format!("{} is no template: {error}", shown(word)));
                    scope.templates.push(name.map_err(failed)?);
                }
            }
        }
        Ok(scope)
    }

    /// Whether a template was meant.
    #[must_use]
    pub fn includes(&self, template: &QubeName) -> bool {
        self.templates.is_empty() || self.templates.contains(template)
    }

    /// What starts a keeper here.
    pub(crate) fn keeper_remedy(&self) -> String {
        match &self.state {
            None => {
                "\"systemctl start qubes-dispvm-keeper\" starts one, its journal tells why it ended".into()
            }
            Some(state) => format!(
                "\"qubes-host serve --state {0}\" runs one, {0}/log/preload-dispvm.log tells why it ended",
                state.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Scope, Failure> {
        Scope::parse(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn words_in_any_order() {
        let scope = parse(&["dvm", "--json", "--state", "/s"]).unwrap();
        assert_eq!(parse(&["--state=/s", "dvm", "--json"]), Ok(scope.clone()));
        assert!(scope.json && scope.includes(&"dvm".parse().unwrap()));
        assert!(!scope.includes(&"other".parse().unwrap()));
        assert!(Scope::default().includes(&"other".parse().unwrap()));
    }

    #[test]
    fn p9_words_that_cannot_be_meant_are_named() {
        for (line, part) in [
            (&["--state"][..], "needs a value"),
            (&["--state="], "--state="),
            (&["../x"], "../x"),
            (&["-x"], "-x"),
        ] {
            let failure = parse(line).unwrap_err();
            assert!(failure.exit == 64 && failure.to_string().contains(part), "{line:?}: {failure}");
        }
    }
}
