//! One line of policy (spec/policy.md, section 2).

use crate::error::LoadErrorKind as Kind;
use crate::lines::Word;
use crate::token::{Column, Token, TokenError};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A rule as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands.
    pub origin: RuleOrigin,
    /// The service; `None` for `*`.
    pub service: Option<Arc<str>>,
    /// The argument with its leading `+`; `None` for `*`.
    pub argument: Option<Arc<str>>,
    /// Which callers it is about.
    pub source: Token,
    /// Which targets it is about.
    pub target: Token,
    /// What it says.
    pub action: Action,
}

/// Where a rule stands; shown as FILE:LINE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleOrigin {
    /// The file; the resolved path when it was included.
    pub file: Arc<Path>,
    /// The line, counted from 1.
    pub line: u32,
}

impl fmt::Display for RuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What a rule says, with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The call is denied.
    Deny {
        /// Whether the user is told.
        notify: bool,
    },
    /// The call is allowed.
    Allow {
        /// `target=`: the call goes here instead.
        target: Option<Token>,
        /// `user=`: the user to run as; `None` for the qube's default.
        user: Option<String>,
        /// Whether the user is told.
        notify: bool,
        /// Whether a target that does not run may be started.
        autostart: bool,
    },
    /// The user is asked.
    Ask {
        /// `target=`: the only choice.
        target: Option<Token>,
        /// `default_target=`: the choice offered first.
        default_target: Option<Token>,
        /// `user=`: the user to run as; `None` for the qube's default.
        user: Option<String>,
        /// Whether the user is told of the outcome.
        notify: bool,
        /// Whether a target that does not run may be offered.
        autostart: bool,
    },
}

impl Action {
    /// Where the rule sends the call instead, if it does.
    #[must_use]
    pub fn redirect(&self) -> Option<&Token> {
        match self {
            Self::Deny { .. } => None,
            Self::Allow { target, .. } | Self::Ask { target, .. } => target.as_ref(),
        }
    }
}

/// The first two columns, which `!include-service` gives for a whole file.
#[derive(Debug, Clone)]
pub(crate) struct ServiceColumns {
    service: Option<Arc<str>>,
    argument: Option<Arc<str>>,
}

/// What is wrong, and the column of the word that is to blame.
pub(crate) type WordError = (u32, Kind);

impl ServiceColumns {
    pub(crate) fn parse(service: Word<'_>, argument: Word<'_>) -> Result<Self, WordError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if let Some(name) = unless_star(service) {
            if !name.chars().all(plain) {
                return Err((service.column, Kind::BadService(name.to_owned())));
            }
        }
        if let Some(value) = unless_star(argument) {
            let wrong = if !value.chars().all(|c| plain(c) || c == '+') {
                Kind::BadArgument(value.to_owned())
            } else if !value.starts_with('+') {
                Kind::ArgumentWithoutPlus(value.to_owned())
            } else if service.text == "*" {
                Kind::ArgumentWithoutService(value.to_owned())
            } else {
                return Ok(Self {
                    service: unless_star(service).map(Arc::from),
                    argument: Some(Arc::from(value)),
                });
            };
            return Err((argument.column, wrong));
        }
        Ok(Self { service: unless_star(service).map(Arc::from), argument: None })
    }
}

impl Rule {
    /// A rule of five columns.
    pub(crate) fn parse(words: &[Word<'_>], origin: RuleOrigin) -> Result<Self, WordError> {
        let &[service, argument, ref rest @ ..] = words else {
            return Err(too_few(words, 5));
        };
        if rest.len() < 3 {
            return Err(too_few(words, 5));
        }
        Self::parse_old(&ServiceColumns::parse(service, argument)?, rest, origin)
    }

    /// A rule of three columns: what follows service and argument.
    pub(crate) fn parse_old(
        columns: &ServiceColumns,
        words: &[Word<'_>],
        origin: RuleOrigin,
    ) -> Result<Self, WordError> {
        let &[source, target, action, ref parameters @ ..] = words else {
            return Err(too_few(words, 3));
        };
        let source = token(source, source.text, Column::Source)?;
        let target_token = token(target, target.text, Column::Target)?;
        let action_word = action;
        let action = parse_action(action, parameters)?;
        if target_token == Token::Default && matches!(action, Action::Allow { target: None, .. }) {
            return Err((action_word.column, Kind::DefaultWithoutTarget));
        }
        let ServiceColumns { service, argument } = columns.clone();
        Ok(Self { origin, service, argument, source, target: target_token, action })
    }
}

fn unless_star(word: Word<'_>) -> Option<&str> {
    (word.text != "*").then_some(word.text)
}

fn too_few(words: &[Word<'_>], needed: usize) -> WordError {
    (words.last().map_or(1, |word| word.column), Kind::TooFewWords { found: words.len(), needed })
}

fn token(word: Word<'_>, text: &str, column: Column) -> Result<Token, WordError> {
    let name = match column {
        Column::Source => "source",
        Column::Target => "target",
        Column::Redirect => "redirect",
    };
    Token::parse(text, column).map_err(|error| {
        let word_text = text.to_owned();
        let kind = match error {
            TokenError::Empty => Kind::EmptyToken { column: name, word: word_text },
            TokenError::Illegal => Kind::BadToken { column: name, word: word_text },
        };
        (word.column, kind)
    })
}

#[derive(Default)]
struct Parameters {
    target: Option<Token>,
    default_target: Option<Token>,
    user: Option<String>,
    notify: Option<bool>,
    autostart: Option<bool>,
}

fn parse_action(action: Word<'_>, words: &[Word<'_>]) -> Result<Action, WordError> {
    let (name, keys): (&'static str, &[&str]) = match action.text {
        "deny" => ("deny", &["notify"]),
        "allow" => ("allow", &["target", "user", "notify", "autostart"]),
        "ask" => ("ask", &["target", "default_target", "user", "notify", "autostart"]),
        other => return Err((action.column, Kind::BadAction(other.to_owned()))),
    };
    let Parameters { target, default_target, user, notify, autostart } = parse_parameters(words, name, keys)?;
    let autostart = autostart.unwrap_or(true);
    Ok(match name {
        "deny" => Action::Deny { notify: notify.unwrap_or(true) },
        "allow" => Action::Allow { target, user, notify: notify.unwrap_or(false), autostart },
        _ => Action::Ask { target, default_target, user, notify: notify.unwrap_or(false), autostart },
    })
}

fn parse_parameters(
    words: &[Word<'_>],
    action: &'static str,
    keys: &[&str],
) -> Result<Parameters, WordError> {
    let mut parameters = Parameters::default();
    let mut seen: [&str; 5] = [""; 5];
    for (index, &word) in words.iter().enumerate() {
        let fail = |kind| Err((word.column, kind));
        let Some((key, value)) = word.text.split_once('=') else {
            return fail(Kind::NotAParameter(word.text.to_owned()));
        };
        if !keys.contains(&key) {
            return fail(Kind::UnknownParameter { key: key.to_owned(), action });
        }
        // At most five keys are known and a repetition ends the loop, so the slot exists.
        if seen.contains(&key) {
            return fail(Kind::ParameterTwice(key.to_owned()));
        }
        if let Some(slot) = seen.get_mut(index) {
            *slot = key;
        }
        match key {
            "target" => parameters.target = Some(token(word, value, Column::Redirect)?),
            "default_target" => parameters.default_target = Some(token(word, value, Column::Redirect)?),
            "user" => parameters.user = (!value.is_empty()).then(|| value.to_owned()),
            _ => {
                let flag = match value {
                    "yes" => true,
                    "no" => false,
                    _ => return fail(Kind::NotYesNo { key: key.to_owned(), value: value.to_owned() }),
                };
                *(if key == "notify" { &mut parameters.notify } else { &mut parameters.autostart }) =
                    Some(flag);
            }
        }
    }
    Ok(parameters)
}
