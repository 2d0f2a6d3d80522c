//! Answers the qrexec daemons' questions (spec/qrexec-wire.md, section 9) and tells each decision to whoever listens.

use crate::asking;
use crate::dom0::Dom0;
use names::printable;
use policy::protocol::{REQUEST_LIMIT, Request};
use policy::{Decision, Options, RuleOrigin};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use trace::Event;

const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one connection to its end.
pub(crate) fn serve(dom0: &Arc<Dom0>, mut stream: UnixStream) {
    let begun = os::monotonic_ns();
    let request = match read(&mut stream).map(|bytes| Request::parse(&bytes)) {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return log::warn!("policy: {error}"),
        Err(error) => return log::warn!("policy: reading a request: {error}"),
    };
    let decision = decide(dom0, &request, &stream);
    if let Err(error) = stream.write_all(&request.answer(&decision)) {
        log::warn!("policy: the answer was not taken: {error}");
    }
    drop(stream);
    tell(dom0, &request, &decision, begun);
    if !request.just_evaluate {
        asking::notify(dom0, &request.call(), &decision);
    }
}

fn decide(dom0: &Dom0, request: &Request, caller: &UnixStream) -> Decision {
    let info = dom0.system_info();
    // Tags name targets here (users.md D2); the provider in dom0 turns one into a template (promise P8).
    let options = Options { accept_tag_targets: true };
    match request.settle(dom0.evaluate(&request.call(), &info.system, options), &info.system) {
        Decision::Ask(ask) => {
            let begun = os::monotonic_ns();
            let decision = asking::decide(dom0, &ask, caller);
            let text = format!(
                "{} leaves {}{} from {} to the user: {}",
                place(&ask.rule),
                printable(ask.service.as_bytes()),
                printable(ask.argument.as_bytes()),
                printable(ask.source.as_bytes()),
                if decision.is_allowed() { "agreed" } else { "not agreed" },
            );
            dom0.reporter.report(&Event::now("host", "asked", &ask.source, text).since(begun));
            decision
        }
        settled => settled,
    }
}

fn read(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 4096];
    while !Request::is_complete(&bytes) && bytes.len() <= REQUEST_LIMIT {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// The text of a refusal stays in dom0; the qube that called learns only that it was refused (promise P9).
fn tell(dom0: &Arc<Dom0>, request: &Request, decision: &Decision, begun: u64) {
    let call = format!(
        "{} from {} to {}",
        printable(request.service_and_arg.as_bytes()),
        printable(request.source.as_bytes()),
        match request.intended_target.as_str() {
            "" => printable(b"@default"),
            target => printable(target.as_bytes()),
        },
    );
    let (step, text) = match decision {
        Decision::Allow(allow) => ("allowed", format!("{call}: allowed by {}", place(&allow.rule))),
        // Answered or refused before it comes here.
        Decision::Ask(ask) => ("denied", format!("{call}: refused: {} asks the user", place(&ask.rule))),
        Decision::Deny(deny) => match &deny.rule {
            Some(rule) => ("denied", format!("{call}: refused by {}: {}", place(rule), deny.reason)),
            None => ("denied", format!("{call}: refused: {}", deny.reason)),
        },
    };
    if step == "denied" {
        log::warn!("{text}");
    }
    let source = printable(request.source.as_bytes()).to_string();
    let mut event = Event::now("host", step, &source, text).since(begun);
    if let Some(rule) = decision.rule() {
        event = event.with("file", file_name(rule)).with("line", rule.line);
    }
    dom0.reporter.report(&event);
}

fn place(rule: &RuleOrigin) -> String {
    format!("{}:{}", file_name(rule), rule.line)
}

fn file_name(rule: &RuleOrigin) -> String {
    rule.file.file_name().unwrap_or(rule.file.as_os_str()).to_string_lossy().into_owned()
}
