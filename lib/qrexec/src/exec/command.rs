//! The text of a command as a value (spec/qrexec-exec.md, section 1). Pure.

use super::error::ExecError;
use names::printable;

/// A parsed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The user to run as; `None` for texts that carry none (dom0).
    pub user: Option<Vec<u8>>,
    /// The text had the prefix `nogui:`: do not wait for a session (section 8).
    pub nogui: bool,
    /// What to run.
    pub action: Action,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A call of a service.
    Service(ServiceCommand),
    /// Any other text, for a shell (section 5.3).
    Legacy(Vec<u8>),
}

/// `SERVICE[+ARG] SOURCE [TYPE TARGET]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCommand {
    text: Vec<u8>,
    full_name_length: usize,
    name_length: usize,
    source_length: usize,
}

/// Who calls and what was asked for, as the words after the service name say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties<'a> {
    /// The calling qube.
    pub source: &'a [u8],
    /// TYPE and TARGET, which only calls to dom0 carry.
    pub requested: Option<(&'a [u8], &'a [u8])>,
}

impl Command {
    /// Parses `USER:[nogui:]COMMAND`, as EXEC_CMDLINE and JUST_EXEC carry it to a qube. Text from a first NUL on is
    /// not part of it.
    ///
    /// # Errors
    /// [`ExecError::BadCommand`], exit code 125.
    pub fn parse_vm(text: &[u8]) -> Result<Self, ExecError> {
        let text = up_to_nul(text);
        let colon = position(text, b':').ok_or(ExecError::BadCommand("there is no \":\" after the user"))?;
        let (user, rest) = text.split_at(colon);
        Self::parse(Some(user.to_vec()), &rest[1..])
    }

    /// Parses `[nogui:]COMMAND`, the form without a user that dom0 uses for its own services.
    ///
    /// # Errors
    /// [`ExecError::BadCommand`], exit code 125.
    pub fn parse_dom0(text: &[u8]) -> Result<Self, ExecError> {
        Self::parse(None, up_to_nul(text))
    }

    fn parse(user: Option<Vec<u8>>, text: &[u8]) -> Result<Self, ExecError> {
        let (nogui, text) = match text.strip_prefix(b"nogui:") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let action = match text.strip_prefix(b"QUBESRPC") {
            Some(rest) => Action::Service(ServiceCommand::parse(rest)?),
            None => Action::Legacy(text.to_vec()),
        };
        Ok(Self { user, nogui, action })
    }
}

impl ServiceCommand {
    fn parse(after_keyword: &[u8]) -> Result<Self, ExecError> {
        let bad = |rule| Err(ExecError::BadCommand(rule));
        let Some(text) = after_keyword.strip_prefix(b" ") else {
            return bad("\"QUBESRPC\" is not followed by a space");
        };
        let Some(full_name_length) = position(text, b' ') else {
            return bad("there is no source after the service");
        };
        let full_name = &text[..full_name_length];
        if full_name.is_empty() {
            return bad("the service is empty (two spaces after \"QUBESRPC\"?)");
        }
        if full_name.len() > LONGEST_FULL_NAME {
            return bad("service and argument are longer than 65000 bytes");
        }
        let name_length = position(full_name, b'+').unwrap_or(full_name_length);
        if name_length == 0 || name_length > LONGEST_FILE_NAME {
            return bad("the service name does not have 1 to 255 bytes");
        }
        let rest = &text[full_name_length + 1..];
        let source_length = position(rest, b' ').unwrap_or(rest.len());
        if source_length == 0 {
            return bad("the source is empty (two spaces after the service?)");
        }
        Ok(Self { text: text.to_vec(), full_name_length, name_length, source_length })
    }

    /// All after `QUBESRPC `: what a socket service is sent first.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// SERVICE+ARG as in the text; without `+` when the text had none.
    #[must_use]
    pub fn full_name(&self) -> &[u8] {
        &self.text[..self.full_name_length]
    }

    /// SERVICE+ARG with a `+` in any case: the first name that is looked up.
    #[must_use]
    pub fn descriptor(&self) -> Vec<u8> {
        let mut descriptor = self.full_name().to_vec();
        if self.argument().is_none() {
            descriptor.push(b'+');
        }
        descriptor
    }

    /// SERVICE alone: the second name that is looked up.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.text[..self.name_length]
    }

    /// ARG, perhaps empty; `None` when the text had no `+`.
    #[must_use]
    pub fn argument(&self) -> Option<&[u8]> {
        self.text.get(self.name_length + 1..self.full_name_length)
    }

    /// The calling qube.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        let start = self.full_name_length + 1;
        &self.text[start..start + self.source_length]
    }

    /// The words after the service name, for an executable service.
    ///
    /// # Errors
    /// [`ExecError::BadCommand`] when there are not exactly one (SOURCE) or three (SOURCE TYPE TARGET).
    pub fn parties(&self) -> Result<Parties<'_>, ExecError> {
        let mut words =
            self.text[self.full_name_length..].split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some(source), None, ..) => Ok(Parties { source, requested: None }),
            (Some(source), Some(kind), Some(target), None) => {
                Ok(Parties { source, requested: Some((kind, target)) })
            }
            _ => Err(ExecError::BadCommand("there are not exactly 2 or 4 words after \"QUBESRPC\"")),
        }
    }
}

impl std::fmt::Display for ServiceCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {}", printable(self.full_name()), printable(self.source()))
    }
}

fn up_to_nul(text: &[u8]) -> &[u8] {
    &text[..position(text, 0).unwrap_or(text.len())]
}

fn position(text: &[u8], byte: u8) -> Option<usize> {
    text.iter().position(|&b| b == byte)
}

const LONGEST_FULL_NAME: usize = 65_000;
const LONGEST_FILE_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn service(text: &[u8]) -> ServiceCommand {
        match Command::parse_vm(text).unwrap().action {
            Action::Service(service) => service,
            Action::Legacy(_) => panic!("legacy"),
        }
    }

    #[test]
    fn call_to_a_qube() {
        let command = Command::parse_vm(b"user:nogui:QUBESRPC test.Service+a+b work\0junk").unwrap();
        assert_eq!(command.user.as_deref(), Some(&b"user"[..]));
        assert!(command.nogui);
        let service = service(b"user:nogui:QUBESRPC test.Service+a+b work\0junk");
        assert_eq!(service.name(), b"test.Service");
        assert_eq!(service.argument(), Some(&b"a+b"[..]));
        assert_eq!(service.descriptor(), b"test.Service+a+b");
        assert_eq!(service.text(), b"test.Service+a+b work");
        assert_eq!(service.source(), b"work");
        assert_eq!(service.parties().unwrap(), Parties { source: b"work", requested: None });
    }

    #[test]
    fn call_to_dom0() {
        let command = Command::parse_dom0(b"QUBESRPC a.B work keyword dispvm").unwrap();
        let Action::Service(service) = &command.action else { panic!("legacy") };
        assert_eq!(command.user, None);
        assert_eq!(service.argument(), None);
        assert_eq!(service.descriptor(), b"a.B+");
        assert_eq!(service.parties().unwrap().requested, Some((&b"keyword"[..], &b"dispvm"[..])));
    }

    #[test]
    fn empty_argument_is_an_argument() {
        let service = service(b"u:QUBESRPC a+ s");
        assert_eq!(service.argument(), Some(&b""[..]));
        assert_eq!(service.full_name(), b"a+");
        assert_eq!(service.descriptor(), b"a+");
    }

    #[test]
    fn other_text_is_legacy_and_may_hold_colons() {
        let command = Command::parse_vm(b":echo a:b").unwrap();
        assert_eq!(command.user.as_deref(), Some(&b""[..]));
        assert_eq!(command.action, Action::Legacy(b"echo a:b".to_vec()));
    }

    #[test]
    fn broken_texts_are_refused() {
        let long_name = [b"u:QUBESRPC ".to_vec(), vec![b'a'; 256], b" s".to_vec()].concat();
        let long_all = [b"u:QUBESRPC a+".to_vec(), vec![b'a'; 64_999], b" s".to_vec()].concat();
        let texts: [&[u8]; 10] = [
            b"",
            b"no colon",
            b"u:QUBESRPC",
            b"u:QUBESRPCx y",
            b"u:QUBESRPC a",
            b"u:QUBESRPC  a b",
            b"u:QUBESRPC a  b",
            b"u:QUBESRPC +a b",
            &long_name,
            &long_all,
        ];
        for text in texts {
            assert_eq!(Command::parse_vm(text).unwrap_err().exit_code(), 125, "{}", printable(text));
        }
        let longest = [b"u:QUBESRPC a+".to_vec(), vec![b'a'; 64_998], b" s".to_vec()].concat();
        assert!(Command::parse_vm(&longest).is_ok());
    }

    #[test]
    fn words_are_counted_for_executables_only() {
        for (text, good) in [
            (&b"u:QUBESRPC a b"[..], true),
            (b"u:QUBESRPC a b ", true),
            (b"u:QUBESRPC a b c", false),
            (b"u:QUBESRPC a b  c   d", true),
            (b"u:QUBESRPC a b c d e", false),
        ] {
            assert_eq!(service(text).parties().is_ok(), good, "{}", printable(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in proptest::collection::vec(any::<u8>(), 0..64), prefixed: bool) {
            let text = if prefixed { [&b"u:QUBESRPC "[..], &text].concat() } else { text };
            if let Ok(Command { action: Action::Service(service), .. }) = Command::parse_vm(&text) {
                prop_assert!(service.descriptor().starts_with(service.name()));
                prop_assert!(!service.source().is_empty() && !service.source().contains(&b' '));
                let _ = service.parties();
            }
        }
    }
}
