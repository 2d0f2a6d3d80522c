//! A service that runs in dom0 (spec/qrexec-wire.md 6.3, spec/qrexec-exec.md).

use super::error::CallError;
use super::machine::Destination;
use super::request::Job;
use super::story::shown;
use crate::data::{self, HelloOrder, Service};
use crate::exec::{self, Action, Command, ServiceCommand, Surroundings};
use std::time::Duration;
use vchan::Vchan;

/// Tells the qube where the call is connected, starts the service, and serves it until its end. Gives its exit code.
pub(super) fn serve(job: &Job, command: &str) -> Result<i32, CallError> {
    let port = job.connect(Destination::Dom0)?;
    // The agent and the caller are now on their way to the data vchan; meanwhile the service starts.
    let service = start(job, command);
    let port = u16::try_from(port).map_err(|_| CallError::NotConnected)?;
    let options = data::Options { hello: HelloOrder::ReceiveFirst, ..data::Options::default() };
    match Vchan::connect(&job.desk.client.vchan, job.desk.own, port, Some(LIMIT)) {
        Ok(vchan) => data::serve(vchan, service, &options).map_err(CallError::Data),
        Err(cause) => {
            give_up(service);
            Err(CallError::Vchan(cause))
        }
    }
}

/// The started service, or the answer in its place: the caller learns 127 or 125, and the log why.
fn start(job: &Job, command: &str) -> Service {
    let surroundings = &job.desk.surroundings;
    let started = Command::parse_dom0(command.as_bytes()).and_then(|command| {
        let config = command.config(surroundings)?;
        if let (true, false, Action::Service(service)) =
            (config.wait_for_session, command.nogui, &command.action)
        {
            wait_for_session(service, surroundings);
        }
        exec::start(&command, &config, surroundings, None)
    });
    started.unwrap_or_else(|error| {
        log::warn!("{} calls {} in dom0: {error}", job.desk.name, shown(&job.trigger));
        Service::Failed { code: error.exit_code(), dom0: true }
    })
}

/// Whatever comes of it, the service is started afterwards (spec/qrexec-exec.md, section 7).
fn wait_for_session(service: &ServiceCommand, surroundings: &Surroundings) {
    match exec::start_wait_for_session(service.source(), None, surroundings).map(|mut child| child.wait()) {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => log::warn!("{service}: waiting for a session ended with {status}"),
        Ok(Err(error)) => log::warn!("{service}: waiting for a session: {error}"),
        Err(error) => log::warn!("{service}: waiting for a session: {error}"),
    }
}

/// Nobody will listen to this service: it sees the end of its input, and is waited for.
fn give_up(service: Service) {
    if let Service::Process { mut child, stdin, stdout, stderr } = service {
        drop((stdin, stdout, stderr));
        if let Err(error) = child.wait() {
            log::warn!("waiting for a service without a caller: {error}");
        }
    }
}

/// How long the caller has to serve the data vchan (spec/qrexec-wire.md 7.1).
const LIMIT: Duration = Duration::from_secs(5);
