//! Why policy files could not be loaded.

use names::{Printable, printable};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A policy that cannot be loaded: which place, which word, why. While it lasts every call is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The file, or the directory, that is to blame.
    pub file: Arc<Path>,
    /// Line, counted from 1; `None` when the trouble is the file as a whole.
    pub line: Option<u32>,
    /// Column of the offending word, counted in characters from 1.
    pub column: Option<u32>,
    /// What is wrong there.
    pub kind: LoadErrorKind,
}

/// What is wrong with a policy file. The texts are words of that file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadErrorKind {
    /// A rule with fewer than its five words (three in an old-style file).
    TooFewWords {
        /// How many words the line has.
        found: usize,
        /// How many it needs.
        needed: usize,
    },
    /// The SERVICE column holds a character that no service name has.
    BadService(String),
    /// The ARGUMENT column holds a character that no argument has.
    BadArgument(String),
    /// The ARGUMENT column is neither `*` nor starts with `+`.
    ArgumentWithoutPlus(String),
    /// An argument was given for the service `*`.
    ArgumentWithoutService(String),
    /// A word that is no token, or none that this column allows.
    BadToken {
        /// "source", "target" or "redirect".
        column: &'static str,
        /// The word.
        word: String,
    },
    /// A token that lacks its name, for example `@tag:`.
    EmptyToken {
        /// "source", "target" or "redirect".
        column: &'static str,
        /// The word.
        word: String,
    },
    /// The ACTION column is not allow, deny or ask.
    BadAction(String),
    /// A word after the action that is not KEY=VALUE.
    NotAParameter(String),
    /// The same parameter twice.
    ParameterTwice(String),
    /// A parameter that this action does not know.
    UnknownParameter {
        /// The parameter's key.
        key: String,
        /// The action.
        action: &'static str,
    },
    /// A parameter that must be yes or no.
    NotYesNo {
        /// The parameter's key.
        key: String,
        /// Its value.
        value: String,
    },
    /// `allow` for the target `@default` without `target=`.
    DefaultWithoutTarget,
    /// A line that starts with `!` and is no directive.
    UnknownDirective(String),
    /// A directive with the wrong number of words after it.
    DirectiveWords {
        /// The directive.
        directive: &'static str,
        /// How many words must follow it.
        needed: usize,
    },
    /// An included path that is no regular file.
    NotAFile(PathBuf),
    /// An included path that is no directory.
    NotADirectory(PathBuf),
    /// A file that includes itself, directly or through others.
    IncludeCycle(PathBuf),
    /// Includes nested deeper than 64 files, or more than 4096 files or 4 MiB read in one load.
    TooMuch(&'static str),
    /// `!compat-4.0` while the directory of Qubes 4.0 still holds rules.
    OldPolicy {
        /// The directory of the old rules.
        directory: PathBuf,
        /// One of the files in it.
        example: String,
    },
    /// A `.policy` file whose name has other characters than lower case letters, digits, `_`, `.` and `-`.
    BadFileName,
    /// A file or directory that cannot be read, with the system's reason.
    Unreadable(String),
    /// A file that is not UTF-8 text.
    NotText,
}

impl LoadError {
    /// Whether the guivm of a source that is denied because of this error is told (spec/policy.md, section 9: syntax
    /// errors are not shown, trouble with files is).
    #[must_use]
    pub fn notify(&self) -> bool {
        matches!(self.kind, LoadErrorKind::BadFileName | LoadErrorKind::Unreadable(_))
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown_path(&self.file))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for LoadError {}

impl fmt::Display for LoadErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| format!("\"{}\"", printable(text.as_bytes()));
        match self {
            Self::TooFewWords { found, needed } => write!(f, "a rule needs {needed} words, here are {found}"),
            Self::BadService(word) => {
                write!(f, "{} is no service: \"*\", or letters, digits, \"-\", \".\" and \"_\"", shown(word))
            }
            Self::BadArgument(word) => {
                write!(
                    f,
                    "{} is no argument: \"+\", then letters, digits, \"+\", \"-\", \".\" and \"_\"",
                    shown(word)
                )
            }
            Self::ArgumentWithoutPlus(word) => {
                write!(f, "{} is no argument: it is \"*\", or starts with \"+\"", shown(word))
            }
            Self::ArgumentWithoutService(word) => {
                write!(f, "the service \"*\" takes the argument \"*\" only, not {}", shown(word))
            }
            Self::BadToken { column, word } => write!(f, "{} is no {column}", shown(word)),
            Self::EmptyToken { column, word } => write!(f, "the {column} {} lacks its name", shown(word)),
            Self::BadAction(word) => write!(f, "{} is no action: allow, deny or ask", shown(word)),
            Self::NotAParameter(word) => write!(f, "{} is no parameter: KEY=VALUE", shown(word)),
            Self::ParameterTwice(key) => write!(f, "the parameter {} is given twice", shown(key)),
            Self::UnknownParameter { key, action } => {
                write!(f, "the action \"{action}\" has no parameter {}", shown(key))
            }
            Self::NotYesNo { key, value } => write!(f, "{key}= is yes or no, not {}", shown(value)),
            Self::DefaultWithoutTarget => {
                f.write_str("a rule that allows @default must name its target with target=")
            }
            Self::UnknownDirective(word) => write!(f, "{} is no directive", shown(word)),
            Self::DirectiveWords { directive, needed } => {
                write!(f, "{directive} is followed by {needed} words")
            }
            Self::NotAFile(path) => write!(f, "{} is no file", shown_path(path)),
            Self::NotADirectory(path) => write!(f, "{} is no directory", shown_path(path)),
            Self::IncludeCycle(path) => write!(f, "{} includes itself", shown_path(path)),
            Self::TooMuch(limit) => write!(f, "the policy exceeds a limit: {limit}"),
            Self::OldPolicy { directory, example } => write!(
                f,
                "{} still holds rules of Qubes 4.0 (for example {}), which are not read here: \
                 move them to policy.d in the new format and empty that directory, or remove this line",
                shown_path(directory),
                shown(example)
            ),
            Self::BadFileName => {
                f.write_str("a policy file name has lower case letters, digits, \"_\", \".\" and \"-\" only")
            }
            Self::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Self::NotText => f.write_str("not UTF-8 text"),
        }
    }
}

fn shown_path(path: &Path) -> Printable<'_> {
    printable(path.as_os_str().as_bytes())
}
