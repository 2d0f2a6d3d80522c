//! The services policy.EvalSimple and policy.EvalGUI of dom0 (spec/qrexec-wire.md 9.6): sockets that qrexec-daemon connects a
//! qube to, where a rule lets the qube ask.

use crate::dom0::Dom0;
use names::printable;
use policy::Options;
use policy::protocol::{EVALUATION_LIMIT, Evaluation, REQUEST_LIMIT};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Serves one call of `service` to its end. Whatever is no question, or is not for the caller, gets an empty answer.
pub(crate) fn serve(dom0: &Arc<Dom0>, service: &str, mut stream: UnixStream) {
    let asked = match read(&stream) {
        Ok((descriptor, input)) => Evaluation::parse(service, &descriptor, &input),
        Err(error) => return log::debug!("{service}: {error}"),
    };
    let Some(asked) = asked else { return log::warn!("{service}: this is no question") };
    let info = dom0.system_info();
    if !asked.may_ask(service, &info.system) {
        return log::warn!("{service}: not for {} to ask", printable(asked.caller.as_bytes()));
    }
    let request = &asked.request;
    let options = Options { accept_tag_targets: true };
    let decision = request.settle(dom0.evaluate(&request.call(), &info.system, options), &info.system);
    let answer: &[u8] = if decision.is_allowed() { b"result=allow\n" } else { b"result=deny\n" };
    if let Err(error) = stream.write_all(answer) {
        log::debug!("{service}: the answer was not taken: {error}");
    }
}

/// The descriptor, which ends with NUL, and what follows, no more of it than a question may have.
fn read(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut descriptor = Vec::new();
    let longest = u64::try_from(REQUEST_LIMIT).unwrap_or(u64::MAX);
    reader.by_ref().take(longest).read_until(0, &mut descriptor)?;
    if descriptor.pop() != Some(0) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no descriptor of the call"));
    }
    let mut input = Vec::new();
    reader.take(u64::try_from(EVALUATION_LIMIT).unwrap_or(u64::MAX)).read_to_end(&mut input)?;
    Ok((descriptor, input))
}

const PATIENCE: Duration = Duration::from_secs(10);
