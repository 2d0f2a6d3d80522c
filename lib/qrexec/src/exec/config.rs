//! rpc-config files (spec/qrexec-exec.md, section 6): a few lines of `KEY = VALUE`, by exactly the rules listed there.

use super::command::ServiceCommand;
use super::error::{ExecError, shown};
use super::lookup::SearchPath;
use names::printable;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// How a service wants to be run. The default holds where no file says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Run it only once the user's session is up.
    pub wait_for_session: bool,
    /// Run it as this user, whatever the command says.
    pub force_user: Option<Vec<u8>>,
    /// Socket and TCP services: do not send the descriptor first.
    pub skip_service_descriptor: bool,
    /// Socket and TCP services: the call ends when the caller's input ends.
    pub exit_on_client_eof: bool,
    /// Socket and TCP services: the call ends when the service's output ends.
    pub exit_on_service_eof: bool,
}

/// Why a configuration file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigError {
    /// A line breaks this rule; lines count from 1.
    Line(usize, &'static str),
    /// A key that may stand once stands twice; lines count from 1.
    Repeated(usize, &'static str),
    /// force-user together with a key that only socket services know.
    ForceUserWith(&'static str),
    /// The file has more than 64 KiB.
    TooLong,
}

impl Config {
    /// The configuration of a service: that of the full descriptor if any directory has one, else that of the
    /// service, else the default.
    ///
    /// # Errors
    /// [`ExecError::LookUp`], [`ExecError::PathTooLong`], [`ExecError::ReadConfig`] and [`ExecError::BadConfig`], all
    /// of which fail the call with 125.
    pub fn load(command: &ServiceCommand, path: &SearchPath) -> Result<Self, ExecError> {
        let file = match path.find(&command.descriptor())? {
            Some(entry) => Some(entry),
            None => path.find(command.name())?,
        };
        let Some(entry) = file else { return Ok(Self::default()) };
        Self::read(&entry.path)
    }

    fn read(path: &Path) -> Result<Self, ExecError> {
        let unreadable = |cause| ExecError::ReadConfig(path.to_owned(), cause);
        let broken = |cause| ExecError::BadConfig(path.to_owned(), cause);
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut text))
            .map_err(unreadable)?;
        if text.len() as u64 > LONGEST_FILE {
            return Err(broken(ConfigError::TooLong));
        }
        let (config, unknown) = Self::parse(&text).map_err(broken)?;
        for key in unknown {
            log::warn!("{}: key {} is unknown and ignored", shown(path), printable(key));
        }
        Ok(config)
    }

    /// Parses the text of a file; also gives the unknown keys, which mean nothing.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(text: &[u8]) -> Result<(Self, Vec<&[u8]>), ConfigError> {
        let mut config = Self::default();
        let mut seen = Vec::new();
        let mut unknown = Vec::new();
        for (index, line) in lines(text).enumerate() {
            let number = index + 1;
            let broken = |rule| ConfigError::Line(number, rule);
            if matches!(line.first(), None | Some(b'#')) {
                continue;
            }
            let (key, value) = parse_line(line).map_err(broken)?;
            match config.set(key, value).map_err(broken)? {
                Some(known) if seen.contains(&known) => return Err(ConfigError::Repeated(number, known)),
                Some(known) => seen.push(known),
                None => unknown.push(key),
            }
        }
        config.check()?;
        Ok((config, unknown))
    }

    fn set(&mut self, key: &[u8], value: Value<'_>) -> Result<Option<&'static str>, &'static str> {
        let name = match key {
            b"wait-for-session" => {
                self.wait_for_session = match value {
                    Value::Boolean(value) => value,
                    Value::Integer(number @ (0 | 1)) => number == 1,
                    _ => return Err("wait-for-session is true, false, 1 or 0"),
                };
                "wait-for-session"
            }
            b"force-user" => {
                let Value::Text(user) = value else { return Err("force-user is a text in single quotes") };
                self.force_user = Some(user.to_vec());
                "force-user"
            }
            b"skip-service-descriptor" => {
                self.skip_service_descriptor = value.boolean()?;
                "skip-service-descriptor"
            }
            b"exit-on-client-eof" => {
                self.exit_on_client_eof = value.boolean()?;
                "exit-on-client-eof"
            }
            b"exit-on-service-eof" => {
                self.exit_on_service_eof = value.boolean()?;
                "exit-on-service-eof"
            }
            _ => return Ok(None),
        };
        Ok(Some(name))
    }

    fn check(&self) -> Result<(), ConfigError> {
        let socket_keys = [
            (self.skip_service_descriptor, "skip-service-descriptor"),
            (self.exit_on_client_eof, "exit-on-client-eof"),
            (self.exit_on_service_eof, "exit-on-service-eof"),
        ];
        match socket_keys.iter().find(|(set, _)| *set) {
            Some((_, key)) if self.force_user.is_some() => Err(ConfigError::ForceUserWith(key)),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Boolean(bool),
    Integer(u64),
    Text(&'a [u8]),
}

impl Value<'_> {
    fn boolean(self) -> Result<bool, &'static str> {
        match self {
            Value::Boolean(value) => Ok(value),
            _ => Err("the value of this key is true or false"),
        }
    }
}

/// Lines without their ends; a CR belongs to the end only where an LF follows.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n').map(|line| match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    })
}

fn parse_line(line: &[u8]) -> Result<(&[u8], Value<'_>), &'static str> {
    if line.contains(&0) {
        return Err("there is a NUL byte");
    }
    if !line[0].is_ascii_alphabetic() {
        return Err("a line starts with a key, and a key with a letter");
    }
    let key_length = line.iter().position(|&byte| !is_key_byte(byte)).unwrap_or(line.len());
    let (key, rest) = line.split_at(key_length);
    let rest = without_blanks(rest).strip_prefix(b"=").ok_or("there is no \"=\" after the key")?;
    let (value, rest) = parse_value(without_blanks(rest))?;
    match without_blanks(rest).first() {
        None | Some(b'#') => Ok((key, value)),
        Some(_) => Err("something else follows the value"),
    }
}

fn parse_value(text: &[u8]) -> Result<(Value<'_>, &[u8]), &'static str> {
    if let Some(rest) = text.strip_prefix(b"true") {
        return Ok((Value::Boolean(true), rest));
    }
    if let Some(rest) = text.strip_prefix(b"false") {
        return Ok((Value::Boolean(false), rest));
    }
    if let Some(quoted) = text.strip_prefix(b"'") {
        if quoted.starts_with(b"''") {
            return Err("triple quotes are not supported");
        }
        let end = quoted.iter().position(|&byte| byte == b'\'').ok_or("the closing quote is missing")?;
        return Ok((Value::Text(&quoted[..end]), &quoted[end + 1..]));
    }
    if let Some(rest) = text.strip_prefix(b"0") {
        return Ok((Value::Integer(0), rest));
    }
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err("a value is true, false, a decimal number or a text in single quotes");
    }
    let mut number = 0u64;
    for &digit in &text[..digits] {
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_add(u64::from(digit - b'0')))
            .ok_or("the number is too large")?;
    }
    Ok((Value::Integer(number), &text[digits..]))
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn without_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[blanks..]
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number, rule) => write!(f, "line {number}: {rule}"),
            Self::Repeated(number, key) => write!(f, "line {number}: {key} was already set"),
            Self::ForceUserWith(key) => write!(f, "force-user cannot be used together with {key}=true"),
            Self::TooLong => write!(f, "it has more than {LONGEST_FILE} bytes"),
        }
    }
}

impl std::error::Error for ConfigError {}

const LONGEST_FILE: u64 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text.as_bytes()).map(|(config, _)| config)
    }

    #[test]
    fn shipped_files() {
        assert!(parsed("wait-for-session=1\n").unwrap().wait_for_session);
        assert_eq!(parsed("force-user='root'\n").unwrap().force_user.as_deref(), Some(&b"root"[..]));
        let tcp = parsed("skip-service-descriptor=true\nexit-on-service-eof=true\n").unwrap();
        assert!(tcp.skip_service_descriptor && tcp.exit_on_service_eof && !tcp.exit_on_client_eof);
        assert_eq!(parsed("").unwrap(), Config::default());
    }

    #[test]
    fn lines_that_hold() {
        for text in [
            "\n\r\n# wait-for-session=1\n",
            "wait-for-session \t = \t 1 \t # x",
            "wait-for-session=true#x",
            "wait-for-session=false\r\n",
            "force-user=''",
            "force-user='a#b' # c",
            "x.y-z_1 = 123\n",
            "wait-for-session=0",
        ] {
            assert!(parsed(text).is_ok(), "{text:?}");
        }
        let (_, unknown) = Config::parse(b"a=1\nb='x'\na=2").unwrap();
        assert_eq!(unknown, [&b"a"[..], b"b", b"a"]);
    }

    #[test]
    fn lines_that_do_not() {
        for text in [
            " ",
            " wait-for-session=1",
            "\twait-for-session=1",
            "1a=1",
            "a",
            "a b=1",
            "ä=1",
            "a=",
            "a=00",
            "a=-0",
            "a=01",
            "a=1x",
            "a=99999999999999999999",
            "a=\"x\"",
            "a='''x'''",
            "a='x",
            "a='x' y",
            "a=False",
            "a=yes",
            "[section]",
            "a=1\0",
            "a=1\r",
            "wait-for-session=2",
            "wait-for-session='1'",
            "exit-on-client-eof=1",
            "exit-on-service-eof=0",
            "skip-service-descriptor=1",
            "force-user=root",
            "force-user=1",
            "wait-for-session=1\nwait-for-session=1",
            "force-user='a'\nskip-service-descriptor=true",
            "force-user='a'\nexit-on-client-eof=true",
            "exit-on-service-eof=true\nforce-user='a'",
        ] {
            assert!(parsed(text).is_err(), "{text:?}");
        }
        assert!(parsed("force-user='a'\nexit-on-service-eof=false").is_ok());
    }

    proptest! {
        #[test]
        fn any_file_is_parsed_or_refused(text in "[a-z=' \t\r\n#0-9\"-]{0,60}") {
            let _ = Config::parse(text.as_bytes());
        }
    }
}
