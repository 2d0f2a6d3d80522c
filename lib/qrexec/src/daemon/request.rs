//! One request of the qube from the question to the end of the call. Each has a thread of its own.

use super::error::CallError;
use super::machine::Destination;
use super::mail::{Mail, Outbox};
use super::options::Options;
use super::question::{Policy, command};
use super::story::{Story, shown};
use super::trigger::Trigger;
use super::{RequestId, disposable, dom0};
use crate::client::{Accepted, Client, ClientError};
use crate::exec::{Place, Surroundings};
use names::DomId;
use policy::protocol::{Grant, Reply, Request};
use std::sync::Arc;
use std::thread;

/// What all requests of a daemon need.
pub(super) struct Desk {
    pub(super) name: String,
    pub(super) own: DomId,
    policy: Policy,
    pub(super) client: Client,
    pub(super) qubesd: admin::Client,
    pub(super) surroundings: Surroundings,
    pub(super) disposables: disposable::Register,
    story: Story,
}

/// One request under way.
pub(super) struct Job {
    pub(super) desk: Arc<Desk>,
    id: RequestId,
    pub(super) trigger: Trigger,
    outbox: Outbox,
}

impl Desk {
    /// Reads what bears on services in dom0 from the environment.
    pub(super) fn new(options: &Options, vchan: vchan::Config) -> Self {
        Self {
            name: options.name.to_string(),
            own: options.domain,
            policy: Policy { socket: options.policy_socket.clone(), program: options.policy_program.clone() },
            client: Client { socket_dir: options.socket_dir.clone(), vchan },
            qubesd: admin::Client::new(&options.qubesd_socket),
            surroundings: Surroundings::from_env(Place::Dom0),
            disposables: disposable::Register::default(),
            story: Story::new(options),
        }
    }

    /// Takes up a request. Whatever happens, the loop gets [`Mail::Ended`] once.
    pub(super) fn begin(desk: &Arc<Self>, id: RequestId, trigger: Trigger, outbox: &Outbox) {
        let job = Job { desk: Arc::clone(desk), id, trigger, outbox: outbox.clone() };
        let spawned = thread::Builder::new().name(format!("call-{}", id.0)).spawn(move || job.run());
        if let Err(error) = spawned {
            log::error!("starting a thread for a call of {}: {error}", desk.name);
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.outbox.send(Mail::Ended(self.id));
    }
}

impl Job {
    fn run(self) {
        let start = os::monotonic_ns();
        self.desk.story.asked(&self.trigger);
        match self.carry_out() {
            Ok(code) => self.desk.story.ended(&self.trigger, code, start),
            Err(error) => {
                let (service, target) = (shown(&self.trigger), &self.trigger.target);
                log::warn!("{} calls {service} in \"{target}\": {error}", self.desk.name);
                self.desk.story.failed(&self.trigger, &error, start);
            }
        }
    }

    /// The life of a call. Gives the exit code where the service ran in dom0; elsewhere nobody here learns it.
    fn carry_out(&self) -> Result<Option<i32>, CallError> {
        let grant = self.ask()?;
        let command = command(&grant, &self.desk.name, &self.trigger.service);
        if grant.is_for_dom0() {
            return dom0::serve(self, &command).map(Some);
        }
        match grant.socket_name().strip_prefix("@dispvm:") {
            Some(template) => disposable::serve(self, &grant, template, &command)?,
            None => drop(self.connect_to(&self.start_in(&grant, &command)?)?),
        }
        Ok(None)
    }

    fn ask(&self) -> Result<Grant, CallError> {
        let start = os::monotonic_ns();
        let request = Request {
            source: self.desk.name.clone(),
            intended_target: self.trigger.target.clone(),
            service_and_arg: self.trigger.service.clone(),
            requested_source: self.trigger.requested_source.clone(),
            ..Request::default()
        };
        match self.desk.policy.ask(&request).map_err(CallError::Policy)? {
            Reply::Allow(grant) => {
                self.desk.story.allowed(&self.trigger, &grant, start);
                Ok(grant)
            }
            Reply::Deny => Err(CallError::Denied),
        }
    }

    /// Has the daemon of the target start the service, after starting the target if need be and allowed.
    fn start_in(&self, grant: &Grant, command: &str) -> Result<Accepted, CallError> {
        let target = grant.socket_name();
        match self.start_for(target, command) {
            Err(CallError::Target(ClientError::NotRunning { .. })) if grant.autostart => {
                disposable::start(self, target)?;
                self.start_for(target, command)
            }
            Err(CallError::Target(ClientError::NotRunning { target })) => Err(CallError::NotRunning(target)),
            other => other,
        }
    }

    pub(super) fn start_for(&self, target: &str, command: &str) -> Result<Accepted, CallError> {
        self.desk.client.start_for(self.desk.own, target, command).map_err(CallError::Target)
    }

    /// Tells the agent that asked where the service of another qube is to be found.
    pub(super) fn connect_to(&self, accepted: &Accepted) -> Result<(), CallError> {
        let to = Destination::Qube { domain: accepted.domain.get().into(), port: accepted.port.into() };
        self.connect(to).map(drop)
    }

    /// Tells the agent that asked where its call is connected; gives the data port.
    pub(super) fn connect(&self, to: Destination) -> Result<u32, CallError> {
        self.outbox.connect(self.id, to).ok_or(CallError::NotConnected)
    }
}
