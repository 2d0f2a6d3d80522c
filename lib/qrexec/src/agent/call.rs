//! One call in its thread: start the service, reach the caller, relay.

use super::core::Call;
use super::session::Session;
use crate::data;
use crate::exec::{self, Action, Command, Config, ExecError, Surroundings};
use names::{DomId, printable};
use nix::sys::eventfd::EventFd;
use qubes_qrexec_sys::ExecParams;
use std::process::Child;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// What all calls share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) surroundings: Surroundings,
    pub(super) vchan: vchan::Config,
    pub(super) session: Session,
    pub(super) wishes: data::Wishes,
}

/// Tells the main loop that a call has ended when it goes, however that came about.
#[derive(Debug)]
pub(super) struct EndNotice {
    pub(super) peer: ExecParams,
    pub(super) ended: Sender<ExecParams>,
    pub(super) wake: Arc<EventFd>,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        // Both fail only when the main loop is gone, and the agent with it.
        if self.ended.send(self.peer).is_ok() {
            let _: nix::Result<usize> = self.wake.write(1);
        }
    }
}

/// Runs one call to its end.
pub(super) fn run(call: &Call, shared: &Shared, notice: EndNotice) {
    let rest = if call.detached { run_detached(call, shared) } else { run_attached(call, shared) };
    drop(notice);
    if let Some(mut child) = rest {
        // Nobody waits for its result, but it must not stay a zombie.
        let _: std::io::Result<_> = child.wait();
    }
}

fn run_attached(call: &Call, shared: &Shared) -> Option<Child> {
    let wish = shared.wishes.of_a_call().map(Arc::new);
    let wish = wish.inspect_err(|error| log::warn!("SIGUSR1 of this call will not be heard: {error}")).ok();
    let mut early = None;
    let started = begin(call, shared).and_then(|(command, config)| {
        log::debug!("starting {}", printable(&call.text));
        // A caller that is there already need not wait for the start; one that is not yet must not delay it.
        early = reach(call, shared, Duration::ZERO).and_then(Result::ok);
        exec::start(&command, &config, &shared.surroundings, wish.as_deref())
    });
    let service = started.unwrap_or_else(|error| {
        log::error!("{}: {error}", printable(&call.text));
        data::Service::Failed { code: error.exit_code(), dom0: false }
    });
    match early.or_else(|| connect(call, shared)) {
        Some(vchan) => {
            relay(vchan, service, call, wish);
            None
        }
        // The service is left with closed streams.
        None => match service {
            data::Service::Process { child, .. } => Some(child),
            _ => None,
        },
    }
}

fn run_detached(call: &Call, shared: &Shared) -> Option<Child> {
    let started = begin(call, shared)
        .and_then(|(command, config)| exec::start_detached(&command, &config, &shared.surroundings));
    let code = match &started {
        Ok(_) => 0,
        Err(error) => {
            log::error!("{}: {error}", printable(&call.text));
            error.exit_code()
        }
    };
    if let Some(vchan) = connect(call, shared) {
        relay(vchan, data::Service::JustExec { code }, call, None);
    }
    started.ok()?.child
}

/// All that comes before the start, the wait for a session included.
fn begin(call: &Call, shared: &Shared) -> Result<(Command, Config), ExecError> {
    let command = Command::parse_vm(&call.text)?;
    let config = command.config(&shared.surroundings)?;
    if config.wait_for_session && !command.nogui {
        if let Action::Service(service) = &command.action {
            let user = config.force_user.as_deref().or(command.user.as_deref());
            shared.session.wait(|| {
                exec::start_wait_for_session(service.source(), user, &shared.surroundings)
                    .inspect_err(|error| log::error!("not waiting for a session: {error}"))
                    .ok()
            });
        }
    }
    Ok((command, config))
}

fn connect(call: &Call, shared: &Shared) -> Option<vchan::Vchan> {
    let ExecParams { connect_domain, connect_port } = call.peer;
    let peer = || format!("domain {connect_domain}, port {connect_port}");
    let Some(result) = reach(call, shared, CONNECT_LIMIT) else {
        log::error!("the daemon names {}: there are no such", peer());
        return None;
    };
    result
        .inspect_err(|error| log::error!("{}: no data vchan to {}: {error}", printable(&call.text), peer()))
        .ok()
}

/// `None` when the daemon's numbers are none of a domain and a port.
fn reach(call: &Call, shared: &Shared, limit: Duration) -> Option<std::io::Result<vchan::Vchan>> {
    let domain = DomId::try_from(call.peer.connect_domain).ok()?;
    let port = u16::try_from(call.peer.connect_port).ok()?;
    Some(vchan::Vchan::connect(&shared.vchan, domain, port, Some(limit)))
}

fn relay(vchan: vchan::Vchan, service: data::Service, call: &Call, wish: Option<Arc<data::Wish>>) {
    match data::serve(vchan, service, &data::Options { wish, ..data::Options::default() }) {
        Ok(code) => log::info!("{}: exit code {code}", printable(&call.text)),
        Err(error) => log::error!("{}: {error}", printable(&call.text)),
    }
}

/// How long the caller may take to open its end (spec/qrexec-wire.md 7.1).
const CONNECT_LIMIT: Duration = Duration::from_secs(120);
