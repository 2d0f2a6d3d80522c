//! The Admin API, server side (spec/admin-api.md): one question per connection.
//!
//! Where upstream closes without an answer because of an exception of its own, a question gets a refusal that says why.
//! Qubes of other hosts, pools and networks do not exist here; methods about them are no known methods.

mod creating;
mod features;
mod following;
mod labels;
mod listing;
mod methods;
mod properties;
mod running;
mod tags;
mod volumes;

use crate::dom0::Dom0;
use crate::store::Refusal;
use admin::ErrorClass;
use admin::protocol::{MAX_REQUEST, Request, RequestError, encode_error, encode_ok};
use methods::{Method, Need, Place};
use names::QubeName;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Which methods a socket knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Socket {
    /// `admin.*`
    Public,
    /// `internal.*`
    Internal,
}

/// A question whose source and destination exist and whose parts are as its method wants them.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    source: QubeName,
    dest: QubeName,
    arg: &'a str,
    payload: &'a [u8],
}

type Answer = Result<Vec<u8>, Refusal>;

/// A client that neither asks nor takes its answer is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves one connection to its end.
pub(crate) fn serve(dom0: &Arc<Dom0>, socket: Socket, mut stream: UnixStream) {
    let question = match read(&mut stream) {
        Ok(question) => question,
        Err(error) => return log::debug!("Admin API: reading a request: {error}"),
    };
    let request = match Request::parse(&question) {
        Ok(request) => request,
        Err(RequestError::Framing(reason)) => return log::warn!("Admin API: no request: {reason}"),
        Err(RequestError::Refused { class, message }) => {
            return send(&mut stream, &encode_error(&class, &message));
        }
    };
    if socket == Socket::Public && request.method == "admin.Events" {
        return match resolve(dom0, &request).and_then(|ask| following::check(&ask).map(|()| ask)) {
            Ok(ask) => following::follow(dom0, &ask, stream),
            Err(refusal) => send(&mut stream, &encode_error(&refusal.class, &refusal.message)),
        };
    }
    let answer = match answer(dom0, socket, &request) {
        Ok(result) => encode_ok(&result),
        Err(refusal) => {
            log::debug!("{} on {}: {refusal}", request.method, request.destination);
            encode_error(&refusal.class, &refusal.message)
        }
    };
    send(&mut stream, &answer);
}

fn answer(dom0: &Arc<Dom0>, socket: Socket, request: &Request<'_>) -> Answer {
    let ask = resolve(dom0, request)?;
    let method = methods::find(socket, request.method)
        .ok_or_else(|| Refusal::protocol(format!("no such method: '{}'", request.method)))?;
    check(method, &ask)?;
    (method.run)(dom0, &ask)
}

/// Source and destination must exist.
fn resolve<'a>(dom0: &Arc<Dom0>, request: &Request<'a>) -> Result<Ask<'a>, Refusal> {
    dom0.read(|store| {
        let source = store.find(&request.source)?.name.clone();
        let dest = store.find(&request.destination)?.name.clone();
        Ok(Ask { source, dest, arg: request.argument, payload: request.payload })
    })
}

/// The declared needs of a method (spec/admin-api.md, section 2).
fn check(method: &Method, ask: &Ask<'_>) -> Result<(), Refusal> {
    let complaint = match (method.payload, ask.payload.is_empty()) {
        (Need::Yes, true) => Some("expected payload"),
        (Need::No, false) => Some("unexpected payload"),
        _ => None,
    };
    let complaint = complaint.or(match (method.arg, ask.arg.is_empty()) {
        (Need::Yes, true) => Some("expected an argument"),
        (Need::No, false) => Some("unexpected argument"),
        _ => None,
    });
    let complaint = complaint.or(match (method.dest, ask.dest.is_dom0()) {
        (Place::Dom0, false) => Some("expected destination to be AdminVM"),
        (Place::Qube, true) => Some("expected destination to not be AdminVM"),
        _ => None,
    });
    complaint.map_or(Ok(()), |complaint| Err(Refusal::protocol(complaint)))
}

/// Lists are for dom0 alone: what a qube may see of others is a question of policy that this host does not put.
fn only_dom0(ask: &Ask<'_>) -> Result<(), Refusal> {
    if ask.source.is_dom0() {
        return Ok(());
    }
    Err(Refusal::new(ErrorClass::PermissionDenied, "on this host only dom0 may ask this"))
}

fn read(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = Vec::new();
    // One byte more than allowed, so that too much is noticed; the rest is never read.
    let limit = u64::try_from(MAX_REQUEST + 1).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(&mut question)?;
    Ok(question)
}

fn send(stream: &mut UnixStream, bytes: &[u8]) {
    if let Err(error) = stream.write_all(bytes) {
        log::debug!("Admin API: the client did not take its answer: {error}");
    }
}
