//! What a qube may ask of the policy: would this call be allowed (spec/qrexec-wire.md 9.6).

use super::Request;
use crate::system::SystemInfo;

/// The service by which a qube asks about any two qubes.
pub const EVAL_SIMPLE: &str = "policy.EvalSimple";
/// The service by which a GUI qube asks about two qubes whose windows it draws.
pub const EVAL_GUI: &str = "policy.EvalGUI";
/// Bytes that are read after the descriptor: more than the longest source, a NUL and the longest target.
pub const EVALUATION_LIMIT: usize = 96;

/// One question. Whatever is not a question gets an empty answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The qube that asks.
    pub caller: String,
    /// What it asks.
    pub request: Request,
}

impl Evaluation {
    /// Parses the descriptor of the call (`SERVICE+QUERY CALLER[ ...]`, without its NUL) and what came after it, up to
    /// [`EVALUATION_LIMIT`] bytes. `None` when a rule of spec/qrexec-wire.md 9.6 is broken.
    #[must_use]
    pub fn parse(service: &str, descriptor: &[u8], input: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(descriptor).ok().filter(|text| text.is_ascii())?.split(' ');
        let query = words.next()?.strip_prefix(service)?.strip_prefix('+')?;
        let caller = words.next().filter(|caller| !caller.is_empty())?;
        if query.is_empty() || query.starts_with('+') {
            return None;
        }
        let nul = input.iter().position(|byte| *byte == 0)?;
        let (source, target) = (input.get(..nul)?, input.get(nul + 1..)?);
        let request = Request {
            source: name(source, LONGEST_SOURCE)?,
            intended_target: name(target, LONGEST_TARGET)?,
            service_and_arg: query.to_owned(),
            requested_source: None,
            assume_yes_for_ask: true,
            just_evaluate: true,
        };
        Some(Self { caller: caller.to_owned(), request })
    }

    /// Whether the caller may ask by this service: [`EVAL_GUI`] is for qubes whose windows the caller draws, which the tag
    /// `guivm-CALLER` says.
    #[must_use]
    pub fn may_ask(&self, service: &str, system: &SystemInfo) -> bool {
        let tag = format!("guivm-{}", self.caller);
        let is_drawn = |name: &str| system.get(name).is_some_and(|qube| qube.tags.contains(&tag));
        service != EVAL_GUI || is_drawn(&self.request.source) && is_drawn(&self.request.intended_target)
    }
}

fn name(bytes: &[u8], longest: usize) -> Option<String> {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"@_.-".contains(byte);
    let fits = !bytes.is_empty() && bytes.len() <= longest && bytes.iter().all(is_allowed);
    fits.then(|| String::from_utf8_lossy(bytes).into_owned())
}

const LONGEST_SOURCE: usize = 31;
const LONGEST_TARGET: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(descriptor: &str, input: &[u8]) -> Option<Evaluation> {
        Evaluation::parse(EVAL_SIMPLE, descriptor.as_bytes(), input)
    }

    #[test]
    fn a_question() {
        let asked = parse("policy.EvalSimple+test.Do+x work name dom0", b"vault\0@dispvm").unwrap();
        assert_eq!(asked.caller, "work");
        let call = asked.request.call();
        assert_eq!((call.source, call.target), ("vault", "@dispvm"));
        assert_eq!((call.service, call.argument), ("test.Do", "+x"));
        assert!(asked.request.assume_yes_for_ask && asked.request.just_evaluate);
    }

    #[test]
    fn what_is_no_question() {
        let long = |length| [b"a\0".as_slice(), &vec![b'b'; length]].concat();
        assert!(parse("policy.EvalSimple+x work", &long(63)).is_some());
        assert!(parse("policy.EvalSimple+x work", &[vec![b'a'; 31], b"\0b".to_vec()].concat()).is_some());
        for (descriptor, input) in [
            ("policy.EvalSimple+ work", b"a\0b".to_vec()),
            ("policy.EvalSimple++x work", b"a\0b".to_vec()),
            ("policy.EvalSimple work", b"a\0b".to_vec()),
            ("policy.EvalOther+x work", b"a\0b".to_vec()),
            ("policy.EvalSimple+x", b"a\0b".to_vec()),
            ("policy.EvalSimple+x work", b"a\0".to_vec()),
            ("policy.EvalSimple+x work", b"\0b".to_vec()),
            ("policy.EvalSimple+x work", b"ab".to_vec()),
            ("policy.EvalSimple+x work", b"a\0b\0".to_vec()),
            ("policy.EvalSimple+x work", b"a\0b\n".to_vec()),
            ("policy.EvalSimple+x work", b"a/b\0c".to_vec()),
            ("policy.EvalSimple+x work", long(64)),
            ("policy.EvalSimple+x work", [vec![b'a'; 32], b"\0b".to_vec()].concat()),
        ] {
            assert_eq!(parse(descriptor, &input), None, "{descriptor} {input:?}");
        }
    }
}
