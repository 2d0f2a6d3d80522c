//! What host, supervisor and init say to each other: a description downwards, one line of answer upwards.

use super::failure::Failure;
use super::spec::{Pausing, Spec};
use super::text::{fields, line};
use os::process::ProcessId;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::PathBuf;

const LONGEST_DESCRIPTION: u32 = 4 << 20;
const LONGEST_ANSWER: usize = 64 << 10;
const GO: u8 = b'!';

/// Sends a description: its length in four bytes, then the text. The pipe then stays open, and its end means the end of
/// the sender.
pub(super) fn send_spec(pipe: &mut impl Write, registry: &OsStr, spec: &Spec) -> io::Result<()> {
    let text = line(&[registry]) + &spec.to_text();
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    if length > LONGEST_DESCRIPTION {
        return Err(io::Error::other("the description is too long"));
    }
    let message = [&length.to_le_bytes(), text.as_bytes()].concat();
    pipe.write_all(&message)?;
    pipe.flush()
}

/// Receives what [`send_spec`] sends.
pub(super) fn receive_spec(pipe: &mut impl Read) -> Result<(PathBuf, Spec), Failure> {
    let broken = |cause: &str| Failure::broken("cannot read", "the description", cause);
    let read = |pipe: &mut dyn Read| {
        let mut length = [0; 4];
        pipe.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if length > LONGEST_DESCRIPTION {
            return Err(io::Error::other("it is too long"));
        }
        let mut text = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        pipe.read_exact(&mut text)?;
        String::from_utf8(text).map_err(io::Error::other)
    };
    let text = read(pipe).map_err(|error| broken(&error.to_string()))?;
    let (registry, spec) = text.split_once('\n').ok_or_else(|| broken("a line is missing"))?;
    let registry = fields(registry).and_then(|fields| fields.into_iter().next()).map(PathBuf::from);
    match (registry, Spec::parse(spec)) {
        (Some(registry), Some(spec)) => Ok((registry, spec)),
        _ => Err(broken("a line is not understood")),
    }
}

/// Lets init start the qube's command.
pub(super) fn send_go(pipe: &mut impl Write) -> io::Result<()> {
    pipe.write_all(&[GO])?;
    pipe.flush()
}

/// Waits for [`send_go`].
pub(super) fn receive_go(pipe: &mut impl Read) -> Result<(), Failure> {
    let mut word = [0];
    match pipe.read_exact(&mut word) {
        Ok(()) if word == [GO] => Ok(()),
        _ => Err(Failure::broken("cannot start", "the command", "the supervisor is gone")),
    }
}

/// What became of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The command runs.
    Ready { init: Option<ProcessId>, pausing: Pausing },
    /// It does not, and nothing is left.
    Failed(Failure),
}

impl Answer {
    pub(super) fn send(&self, pipe: &mut impl Write) -> io::Result<()> {
        let text = |word: &str, text: &str| line(&[word.as_ref(), text.as_ref()]);
        let answer = match self {
            Self::Ready { init, pausing } => {
                let init = init.map(|init| init.to_string()).unwrap_or_default();
                line(&["ready".as_ref(), init.as_ref(), pausing.as_str().as_ref()])
            }
            Self::Failed(Failure::Refused(cause)) => text("refused", cause),
            Self::Failed(Failure::Broken(cause)) => text("broken", cause),
            Self::Failed(Failure::Exists) => text("exists", ""),
        };
        pipe.write_all(answer.as_bytes())?;
        pipe.flush()
    }

    /// An answer that does not come, or is none, is a failure too.
    pub(super) fn receive(pipe: &mut impl Read) -> Self {
        let text = read_line(pipe, LONGEST_ANSWER);
        text.ok().and_then(|text| Self::parse(text.trim_end_matches('\n'))).unwrap_or_else(|| {
            Self::Failed(Failure::Broken("it ended without an answer: was it killed?".to_owned()))
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let fields = fields(line)?;
        let fields: Vec<&str> = fields.iter().map(|field| field.to_str()).collect::<Option<_>>()?;
        match fields.as_slice() {
            ["ready", init, pausing] => {
                Some(Self::Ready { init: init.parse().ok(), pausing: Pausing::from_text(pausing)? })
            }
            ["refused", cause] => Some(Self::Failed(Failure::Refused((*cause).to_owned()))),
            ["broken", cause] => Some(Self::Failed(Failure::Broken((*cause).to_owned()))),
            ["exists", ""] => Some(Self::Failed(Failure::Exists)),
            _ => None,
        }
    }
}

/// Reads up to the end of a line, after which the sender says nothing more, or the end of the file.
fn read_line(pipe: &mut impl Read, limit: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while !bytes.ends_with(b"\n") {
        match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > limit {
            return Err(io::Error::other("it is too long"));
        }
    }
    String::from_utf8(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::sample;
    use super::*;

    #[test]
    fn description_and_answers_round_trip() {
        let mut pipe = Vec::new();
        send_spec(&mut pipe, "/the registry".as_ref(), &sample()).unwrap();
        send_go(&mut pipe).unwrap();
        let mut pipe = pipe.as_slice();
        assert_eq!(receive_spec(&mut pipe), Ok(("/the registry".into(), sample())));
        assert_eq!(receive_go(&mut pipe), Ok(()));
        assert!(receive_go(&mut pipe).is_err());
        for answer in [
            Answer::Ready { init: Some(ProcessId { pid: 3, start: 4 }), pausing: Pausing::Signals },
            Answer::Ready { init: None, pausing: Pausing::Auto },
            Answer::Failed(Failure::Refused("no\nway %".to_owned())),
            Answer::Failed(Failure::Exists),
        ] {
            let mut pipe = Vec::new();
            answer.send(&mut pipe).unwrap();
            assert_eq!(Answer::receive(&mut pipe.as_slice()), answer);
        }
    }

    #[test]
    fn cut_off_texts_are_failures() {
        let mut pipe = Vec::new();
        send_spec(&mut pipe, "/r".as_ref(), &sample()).unwrap();
        for cut in 0..pipe.len() {
            assert!(receive_spec(&mut &pipe[..cut]).is_err(), "{cut}");
        }
        let huge = [u32::MAX.to_le_bytes().as_slice(), &pipe].concat();
        assert!(receive_spec(&mut huge.as_slice()).is_err());
        assert!(matches!(Answer::receive(&mut &b"read"[..]), Answer::Failed(Failure::Broken(_))));
    }
}
