//! The command line of the daemon (spec/qrexec-wire.md, section 3) and the variables that go with it.

use names::{DomId, NameError, QubeName, UserName, Uuid};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What the daemon was told when it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The qube's domain id, above 0.
    pub domain: DomId,
    /// The qube's name. For a stub domain `NAME-dm`, which is no [`QubeName`].
    pub name: DaemonName,
    /// The qube's UUID.
    pub uuid: Uuid,
    /// The user whose name replaces `DEFAULT` in commands.
    pub default_user: UserName,
    /// No progress text while the parent waits.
    pub quiet: bool,
    /// Stay in the foreground and log to standard error.
    pub direct: bool,
    /// Directory of the sockets `qrexec.*`.
    pub socket_dir: PathBuf,
    /// Asked when the policy daemon gives no usable answer, if it exists.
    pub policy_program: PathBuf,
    /// The policy daemon's socket.
    pub policy_socket: PathBuf,
    /// qubesd's socket.
    pub qubesd_socket: PathBuf,
    /// Where events for people go.
    pub story: Option<PathBuf>,
    /// How long to wait for the qube's agent; `None` is for ever.
    pub startup_limit: Option<Duration>,
}

/// Name of a daemon's qube: a qube's name, or that of its stub domain, which has `-dm` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonName(String);

impl DaemonName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for DaemonName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let name: QubeName = text.strip_suffix("-dm").unwrap_or(text).parse()?;
        Ok(Self(if text.ends_with("-dm") { format!("{name}-dm") } else { name.to_string() }))
    }
}

impl fmt::Display for DaemonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why the daemon does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionsError {
    /// Help was asked for.
    Help,
    /// An option that there is not.
    Unknown(String),
    /// An option without the value that it needs.
    NoValue(&'static str),
    /// No UUID was given.
    NoUuid,
    /// Not two or three words after the options.
    Words(usize),
    /// A word that is not what it should be.
    Name(NameError),
    /// Domain id 0, which is dom0.
    Dom0,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => f.write_str(USAGE),
            Self::Unknown(option) => write!(f, "there is no option {option}\n{USAGE}"),
            Self::NoValue(option) => write!(f, "option {option} needs a value\n{USAGE}"),
            Self::NoUuid => write!(f, "the qube's UUID is missing: give --uuid\n{USAGE}"),
            Self::Words(count) => write!(f, "{count} words instead of 2 or 3 after the options\n{USAGE}"),
            Self::Name(error) => write!(f, "{error}\n{USAGE}"),
            Self::Dom0 => write!(f, "domain 0 is dom0, which has no agent\n{USAGE}"),
        }
    }
}

impl std::error::Error for OptionsError {}

impl From<NameError> for OptionsError {
    fn from(error: NameError) -> Self {
        Self::Name(error)
    }
}

/// The variables that bear on the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Startup {
    /// QREXEC_STARTUP_TIMEOUT.
    pub timeout: Option<OsString>,
    /// QREXEC_STARTUP_NOWAIT was set to anything.
    pub nowait: bool,
}

impl Startup {
    /// Reads the two variables.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            timeout: std::env::var_os("QREXEC_STARTUP_TIMEOUT"),
            nowait: std::env::var_os("QREXEC_STARTUP_NOWAIT").is_some(),
        }
    }

    fn limit(&self) -> Option<Duration> {
        if self.nowait {
            return None;
        }
        let seconds =
            self.timeout.as_deref().and_then(OsStr::to_str).and_then(|text| text.trim().parse().ok());
        Some(Duration::from_secs(seconds.filter(|&seconds| seconds > 0).unwrap_or(60)))
    }
}

impl Options {
    /// Reads the command line without `argv[0]`.
    ///
    /// # Errors
    /// See [`OptionsError`]; all of them mean exit code 1.
    pub fn parse(args: &[OsString], startup: &Startup) -> Result<Self, OptionsError> {
        let mut found = Found::default();
        let mut words = Vec::new();
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            match arg.to_str() {
                Some("--") => words.extend(rest.by_ref()),
                Some(text) if text.len() > 1 && text.starts_with('-') => found.take(text, &mut rest)?,
                _ => words.push(arg),
            }
        }
        let text = |index: usize| words.get(index).map(|word| word.to_string_lossy());
        let (Some(domain), Some(name), true) = (text(0), text(1), words.len() <= 3) else {
            return Err(OptionsError::Words(words.len()));
        };
        let domain: DomId = domain.parse()?;
        if domain == DomId::DOM0 {
            return Err(OptionsError::Dom0);
        }
        Ok(Self {
            domain,
            name: name.parse()?,
            uuid: found.uuid.ok_or(OptionsError::NoUuid)?.to_string_lossy().parse()?,
            default_user: text(2).as_deref().unwrap_or("user").parse()?,
            quiet: found.quiet,
            direct: found.direct,
            socket_dir: absolute(found.socket_dir, "/var/run/qubes"),
            policy_program: absolute(found.policy_program, "/usr/bin/qrexec-policy-exec"),
            policy_socket: absolute(found.policy_socket, "/run/qubes/policy.sock"),
            qubesd_socket: absolute(found.qubesd_socket, "/run/qubesd.sock"),
            story: found.story.map(|path| absolute(Some(path), "")),
            startup_limit: startup.limit(),
        })
    }
}

/// The daemon changes its working directory, so no relative path may be left.
fn absolute(path: Option<OsString>, default: &str) -> PathBuf {
    let path = path.map_or_else(|| PathBuf::from(default), PathBuf::from);
    std::path::absolute(&path).unwrap_or(path)
}

#[derive(Default)]
struct Found {
    uuid: Option<OsString>,
    quiet: bool,
    direct: bool,
    socket_dir: Option<OsString>,
    policy_program: Option<OsString>,
    policy_socket: Option<OsString>,
    qubesd_socket: Option<OsString>,
    story: Option<OsString>,
}

impl Found {
    fn take<'a>(
        &mut self,
        option: &str,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), OptionsError> {
        let (name, mut value) = match option.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (option, None),
        };
        let mut needed =
            |name| value.take().or_else(|| rest.next().cloned()).ok_or(OptionsError::NoValue(name));
        match name {
            "-u" | "--uuid" => self.uuid = Some(needed("--uuid")?),
            "-p" | "--policy-program" => self.policy_program = Some(needed("--policy-program")?),
            "--socket-dir" => self.socket_dir = Some(needed("--socket-dir")?),
            "--policy-socket" => self.policy_socket = Some(needed("--policy-socket")?),
            "--qubesd-socket" => self.qubesd_socket = Some(needed("--qubesd-socket")?),
            "--story" => self.story = Some(needed("--story")?),
            "-q" | "--quiet" => self.quiet = true,
            "-D" | "--direct" => self.direct = true,
            "-h" | "--help" => return Err(OptionsError::Help),
            _ => return self.take_cluster(option, rest),
        }
        Ok(())
    }

    /// Short options written together, or with their value in the same word: `-qD`, `-uUUID`.
    fn take_cluster<'a>(
        &mut self,
        option: &str,
        rest: &mut impl Iterator<Item = &'a OsString>,
    ) -> Result<(), OptionsError> {
        let unknown = || OptionsError::Unknown(names::printable(option.as_bytes()).to_string());
        let letters =
            option.strip_prefix('-').filter(|letters| !letters.starts_with('-')).ok_or_else(unknown)?;
        if !letters.is_ascii() || letters.len() < 2 {
            return Err(unknown());
        }
        let (first, others) = letters.split_at(1);
        match first {
            "u" => self.uuid = Some(others.into()),
            "p" => self.policy_program = Some(others.into()),
            "q" | "D" | "h" => {
                self.take(&format!("-{first}"), rest)?;
                self.take(&format!("-{others}"), rest)?;
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

const USAGE: &str = "\
usage: qrexec-daemon [options] DOMID NAME [DEFAULT_USER]
  -u, --uuid=UUID            UUID of the qube (required)
  -q, --quiet                no progress text
  -p, --policy-program=PATH  asked when the policy daemon gives no usable answer
  -D, --direct               stay in the foreground, log to standard error
      --socket-dir=PATH      directory of the sockets (/var/run/qubes)
      --policy-socket=PATH   the policy daemon (/run/qubes/policy.sock)
      --qubesd-socket=PATH   qubesd (/run/qubesd.sock)
      --story=PATH           socket that hears what happens
  -h, --help                 this text";

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01234567-89ab-4def-8123-456789abcdef";

    fn parse(words: &[&str]) -> Result<Options, OptionsError> {
        let args: Vec<OsString> = words.iter().map(OsString::from).collect();
        Options::parse(&args, &Startup::default())
    }

    #[test]
    fn as_qubesd_starts_it() {
        let options = parse(&["-q", "-u", UUID, "--", "7", "work-dm", "root"]).unwrap();
        assert_eq!((options.domain.get(), options.name.as_str()), (7, "work-dm"));
        assert_eq!(options.default_user.as_str(), "root");
        assert!(options.quiet && !options.direct);
        assert_eq!(options.socket_dir, PathBuf::from("/var/run/qubes"));
        assert_eq!(options.startup_limit, Some(Duration::from_secs(60)));
    }

    #[test]
    fn options_in_every_spelling() {
        for words in [
            ["-D", "-u", UUID, "--socket-dir=/x", "7", "w"].as_slice(),
            &["-qDu", UUID, "7", "--socket-dir", "/x", "w"],
            &["7", "w", "--direct", &format!("-u{UUID}"), "--socket-dir=/x"],
            &["7", "w", "--direct", &format!("--uuid={UUID}"), "--socket-dir=/x", "--"],
        ] {
            let options = parse(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
            assert!(options.direct);
            assert_eq!(options.socket_dir, PathBuf::from("/x"));
            assert_eq!(options.default_user.as_str(), "user");
        }
    }

    #[test]
    fn starts_that_are_refused() {
        for words in [
            [].as_slice(),
            &["7", "work"],
            &["-u", UUID, "7"],
            &["-u", UUID, "0", "work"],
            &["-u", UUID, "x", "work"],
            &["-u", UUID, "7", "../work"],
            &["-u", "x", "7", "work"],
            &["-u", UUID, "7", "work", "user", "more"],
            &["-u", UUID, "--nonsense", "7", "work"],
            &["-u", UUID, "-x", "7", "work"],
            &["7", "work", "-u"],
            &["-h"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn the_time_limit() {
        for (timeout, nowait, limit) in [
            (Some("5"), false, Some(5)),
            (Some("x"), false, Some(60)),
            (Some("-1"), false, Some(60)),
            (None, true, None),
        ] {
            let startup = Startup { timeout: timeout.map(OsString::from), nowait };
            assert_eq!(startup.limit(), limit.map(Duration::from_secs));
        }
    }
}
