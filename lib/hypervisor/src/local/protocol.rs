//! What host, supervisor and init say to each other: a description downwards, one line of answer upwards.

use super::failure::Failure;
use super::spec::{Pausing, Spec};
use super::text::{fields, line};
use os::process::ProcessId;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::PathBuf;

const LONGEST_DESCRIPTION: usize = 4 << 20;
const LONGEST_ANSWER: usize = 64 << 10;
const END: &str = "end\n";

/// Sends a description; the pipe then stays open, and its end means the end of the sender.
pub(super) fn send_spec(pipe: &mut impl Write, registry: &OsStr, spec: &Spec) -> io::Result<()> {
    let mut text = line(&[registry]);
    text.push_str(&spec.to_text());
    text.push_str(END);
    pipe.write_all(text.as_bytes())?;
    pipe.flush()
}

/// Receives what [`send_spec`] sends.
pub(super) fn receive_spec(pipe: &mut impl Read) -> Result<(PathBuf, Spec), Failure> {
    let broken = |cause: &str| Failure::broken("cannot read", "the description", cause);
    let text = read_until(pipe, &format!("\n{END}"), LONGEST_DESCRIPTION)
        .map_err(|error| broken(&error.to_string()))?;
    let text = text.strip_suffix(END).ok_or_else(|| broken("it is cut off"))?;
    let (registry, spec) = text.split_once('\n').ok_or_else(|| broken("a line is missing"))?;
    let registry = fields(registry).and_then(|fields| fields.into_iter().next()).map(PathBuf::from);
    match (registry, Spec::parse(spec)) {
        (Some(registry), Some(spec)) => Ok((registry, spec)),
        _ => Err(broken("a line is not understood")),
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
        let text = read_until(pipe, "\n", LONGEST_ANSWER);
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

/// Reads up to a text after which the sender waits, or the end of the file.
fn read_until(pipe: &mut impl Read, end: &str, limit: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while !bytes.ends_with(end.as_bytes()) {
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
        assert_eq!(receive_spec(&mut pipe.as_slice()), Ok(("/the registry".into(), sample())));
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
        assert!(matches!(Answer::receive(&mut &b"read"[..]), Answer::Failed(Failure::Broken(_))));
    }
}
