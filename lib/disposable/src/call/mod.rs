//! One call, from claim to settle. This page is the story; the modules below it are the details.

mod disposable;
mod words;

use crate::config::Config;
use crate::creator::{self, Creator, Tagging};
use crate::entry::Entry;
use crate::error::CallError;
use crate::queue::{Claimed, KeeperLock, LockError, Queue};
use crate::request::Request;
use crate::resolve::{self, Template};
use crate::source::{self, Admission, SourceLimits};
use crate::{cold, wake};
use admin::{AdminError, Asked, Client};
use disposable::{Desk, Disposable};
use hypervisor::{Hypervisor, Machine};
use names::{DomId, QubeName};
use policy::SystemInfo;
use qrexec::client::{Call, Connected};
use qrexec::data::{CallEnd, CallReport, HelloOrder, Options};
use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use trace::{Event, Reporter};

/// The whole of a dom0 service executable: everything but its name. Returns the exit code (promise P9).
///
/// Before anything else, inherited descriptors are closed (promise P10). The environment is read once, into types;
/// no program is started, so nothing of it is passed on.
#[must_use]
pub fn main(service: &str) -> u8 {
    let began = os::monotonic_ns();
    if let Err(error) = os::descriptors::close_inherited() {
        return fail(&CallError::trouble("close the descriptors inherited by", service, error));
    }
    let run = || {
        let service = service.parse().map_err(|error| CallError::trouble("serve", service, error))?;
        let request = Request::parse(service, |variable| std::env::var_os(variable))?;
        let config = Config::load()?;
        let dom0 = Dom0::new(config);
        let qubes = dom0.ask_about_qubes();
        let _admitted = dom0.admit(&request.source)?;
        dom0.hand_over(&request, &request.command(), qubes, began)
    };
    run().unwrap_or_else(|error| fail(&error))
}

/// A call from dom0 itself: `command` (`USER:QUBESRPC SERVICE+ARGUMENT dom0`) on a disposable for `request`, with this
/// process's standard streams: what the command says on stderr is for whoever started it, not for a log. What goes to a
/// terminal is sanitised, nothing else is touched. Limits per calling qube are not for dom0. Returns its exit code.
///
/// # Errors
/// As for a service: refused, or our trouble.
pub fn run(config: Config, request: &Request, command: &str) -> Result<u8, CallError> {
    let began = os::monotonic_ns();
    let mut dom0 = Dom0::new(config);
    dom0.own_errors = true;
    let qubes = dom0.ask_about_qubes();
    dom0.hand_over(request, command, qubes, began)
}

/// What a call needs of dom0.
#[derive(Debug)]
struct Dom0 {
    config: Config,
    /// Whether stderr is the caller's own, not the log of a daemon.
    own_errors: bool,
    admin: Client,
    hypervisor: Machine,
    qrexec: qrexec::client::Client,
    story: Reporter,
    untold: RefCell<Vec<Event>>,
}

impl Dom0 {
    /// Claim, verify, prepare, wake, connect, hand over, settle.
    fn hand_over(
        &self,
        request: &Request,
        command: &str,
        qubes: Result<Asked, AdminError>,
        began: u64,
    ) -> Result<u8, CallError> {
        let system = self.qubes(qubes)?;
        let creator = Creator::of(&request.source, &system);
        let _admitted = self.admit_chain(&creator)?;
        let template = self.resolve(request, &system, began)?;
        let desk = self.desk(&template)?;
        loop {
            let (mut disposable, call) = self.disposable(&template, &desk, &creator, command)?;
            match self.connect(&disposable, call, command) {
                Ok(connected) => {
                    disposable.used();
                    self.flush();
                    let report = self.stream(connected, &disposable)?;
                    return self.settle(disposable, &report);
                }
                // Nothing of the caller's stream has been read yet, so the next disposable can have it whole.
                Err(error) if disposable.is_preloaded() => self.pass_over(&disposable, &error),
                Err(error) => return Err(error),
            }
        }
    }

    /// One qube cannot drain the queue for all (promise P13).
    fn admit(&self, source: &QubeName) -> Result<Admission, CallError> {
        let (at_once, per_minute) = (self.config.calls_per_source, self.config.calls_per_source_minute);
        source::admit(&self.config.queue, source, SourceLimits { at_once, per_minute }, os::monotonic_ns())
    }

    /// Nor can its disposables, each for the next (users.md S4, S5): their calls count for the qube that began.
    fn admit_chain(&self, creator: &Creator) -> Result<Option<Admission>, CallError> {
        creator.check(self.config.chain_depth)?;
        (creator.depth > 1).then(|| self.admit(&creator.origin)).transpose()
    }

    /// Asked early: qubesd answers while this process goes on.
    fn ask_about_qubes(&self) -> Result<Asked, AdminError> {
        Client::new(&self.config.qubesd_internal_socket).ask_system_info()
    }

    fn qubes(&self, qubes: Result<Asked, AdminError>) -> Result<SystemInfo, CallError> {
        let unknown = |cause: String| {
            CallError::trouble(
                "learn about the qubes from",
                self.config.qubesd_internal_socket.display(),
                cause,
            )
            .remedy("is qubesd running? \"systemctl status qubesd\" tells")
        };
        let json = qubes.and_then(Asked::answer).map_err(|error| unknown(error.to_string()))?;
        SystemInfo::from_json(&json).map_err(|error| unknown(error.to_string()))
    }

    fn resolve(&self, request: &Request, system: &SystemInfo, began: u64) -> Result<Template, CallError> {
        let is_ready = |name: &QubeName| {
            let queue = Queue::open(&self.config.queue, name, self.config.lock_wait).ok().flatten();
            queue.is_some_and(|queue| queue.count(crate::queue::Place::Ready).is_ok_and(|count| count > 0))
        };
        let template = resolve::template(request, system, self.config.tag_choice, is_ready)?;
        let text =
            format!("{} asked for {}: a disposable of {}", request.source, request.target, template.name);
        self.tell(Event::now(WHO, "resolved", template.name.as_str(), text).since(began));
        Ok(template)
    }

    /// The queue, to be trusted only while a keeper lives: without one nobody bumps generations (promise P11).
    fn desk(&self, template: &Template) -> Result<Desk, CallError> {
        let trusted = KeeperLock::is_held(&self.config.queue);
        if !trusted {
            let text =
                format!("no keeper is running, or it is stuck: {} starts a fresh disposable", template.name);
            self.tell(Event::now(WHO, "no-keeper", template.name.as_str(), text));
        }
        match Queue::open(&self.config.queue, &template.name, self.config.lock_wait) {
            Ok(queue) => Ok(Desk { queue, trusted }),
            Err(_) if !trusted => Ok(Desk { queue: None, trusted }),
            Err(error) => Err(CallError::trouble("open the queue of", &template.name, error)),
        }
    }

    /// The oldest that is ready; else one that is starting, which is there sooner than a new one (M2); else a new one.
    /// Each bears the tags of its creator before anything can be called in it (users.md S12).
    fn disposable<'a>(
        &'a self,
        template: &Template,
        desk: &'a Desk,
        creator: &Creator,
        command: &str,
    ) -> Result<(Disposable<'a>, Option<Call>), CallError> {
        let queue = desk.trusted();
        let prepare = |entry: &Entry| self.prepare(entry, creator, command);
        let ready = |queue, hypervisor: &dyn Hypervisor| wake::take_prepared(queue, hypervisor, &prepare);
        if let Some((ready, call)) = self.preloaded(queue, ready)? {
            return Ok((Disposable::Preloaded(ready), Some(call)));
        }
        let patience = self.config.start_timeout.mul_f64(1.2);
        let starting = |queue, hypervisor: &dyn Hypervisor| wake::await_reserved(queue, hypervisor, patience);
        if let Some((started, ())) = self.preloaded(queue, starting)? {
            if creator::set_tags(&self.admin, started.entry().uuid, creator).is_ok() {
                return Ok((Disposable::Preloaded(started), None));
            }
        }
        Ok((self.start_cold(template, desk, creator)?, None))
    }

    /// All that can be done for a disposable that still sleeps: it is tagged, and its daemon is asked for the call. So it
    /// finds everything in place when it wakes. One that does not wake is destroyed, and the call with it.
    fn prepare(&self, entry: &Entry, creator: &Creator, command: &str) -> Result<Call, String> {
        let untagged = |error: AdminError| format!("it cannot be tagged: {error}");
        let tagging = Tagging::begin(&self.admin, entry.uuid, creator).map_err(untagged)?;
        let call = self.qrexec.start(entry.name.as_str(), command).map_err(|error| error.to_string())?;
        tagging.finish().map_err(untagged)?;
        Ok(call)
    }

    fn preloaded<'a, P>(
        &'a self,
        queue: Option<&'a Queue>,
        take: impl Fn(&'a Queue, &dyn Hypervisor) -> Result<wake::Taken<'a, P>, LockError>,
    ) -> Result<Option<(Claimed<'a>, P)>, CallError> {
        let Some(queue) = queue else { return Ok(None) };
        let start = os::monotonic_ns();
        let taken = match take(queue, &self.hypervisor as &dyn Hypervisor) {
            Ok(taken) => taken,
            Err(error) => {
                log::warn!("{error}; starting a fresh disposable instead");
                return Ok(None);
            }
        };
        for reason in taken.passed_over {
            log::warn!("{reason}");
            self.tell(Event::now(WHO, "passed-over", "", reason));
        }
        let Some((claimed, prepared)) = taken.disposable else { return Ok(None) };
        let name = claimed.name().to_string();
        let mut event = Event::now(WHO, "claimed", &name, format!("{name} claimed from the queue"));
        event.at_ns = taken.claimed_ns;
        self.tell(event.since(start));
        let mut event = Event::now(WHO, "woken", &name, format!("{name} woken"));
        event.at_ns = taken.woken_ns;
        self.tell(event.since(taken.claimed_ns));
        Ok(Some((claimed, prepared)))
    }

    fn start_cold<'a>(
        &'a self,
        template: &Template,
        desk: &'a Desk,
        creator: &Creator,
    ) -> Result<Disposable<'a>, CallError> {
        let start = os::monotonic_ns();
        let text = format!("no preloaded disposable of {} is ready: starting a fresh one", template.name);
        self.tell(Event::now(WHO, "cold", template.name.as_str(), text));
        self.flush();
        let (disposable, uuid) = desk.create(template, &self.admin)?;
        cold::start(&self.admin, template, uuid, creator)?;
        let name = disposable.name();
        let text = format!("{name} started for this call");
        self.tell(Event::now(WHO, "started", name.as_str(), text).since(start));
        Ok(disposable)
    }

    /// Waits for the agent of a disposable that was asked; one that is new is asked now.
    fn connect(
        &self,
        disposable: &Disposable<'_>,
        call: Option<Call>,
        command: &str,
    ) -> Result<Connected, CallError> {
        let start = os::monotonic_ns();
        let failed = |error: qrexec::client::ClientError| {
            CallError::trouble("connect to", disposable.name(), error)
                .remedy("its log and that of its qrexec-daemon tell more")
        };
        let call = match call {
            Some(call) => call,
            None => self.qrexec.start(disposable.name().as_str(), command).map_err(failed)?,
        };
        let connected = call.connect().map_err(failed)?;
        let text = format!("connected to {}; {} is starting", disposable.name(), service_of(command));
        self.tell(Event::now(WHO, "connected", disposable.name().as_str(), text).since(start));
        Ok(connected)
    }

    /// Opaque bytes both ways (promise P7), until either side ends.
    fn stream(&self, connected: Connected, disposable: &Disposable<'_>) -> Result<CallReport, CallError> {
        let failed = |cause: String| CallError::trouble("hand the stream over to", disposable.name(), cause);
        let own = |descriptor: io::Result<OwnedFd>| descriptor.map_err(|error| failed(error.to_string()));
        let input = own(io::stdin().as_fd().try_clone_to_owned())?;
        let output = own(io::stdout().as_fd().try_clone_to_owned())?;
        let errors = if self.own_errors {
            words::straight().map_err(|error| failed(error.to_string()))?
        } else {
            words::sanitised(disposable.name().as_str(), &self.story)
        };
        // The caller that is gone, input and output, ends the call at once; one that only closed its input does not.
        let options = Options {
            hello: HelloOrder::SendFirst,
            end_with_output: true,
            // dom0's terminal must not be steered by what a disposable prints.
            filter_stdout: self.own_errors && io::stdout().is_terminal(),
            filter_stderr: self.own_errors && io::stderr().is_terminal(),
            ..Options::default()
        };
        connected.run(Some(input), output, errors, &options).map_err(|error| failed(error.to_string()))
    }

    /// Says how it ended and lets go: one rename, and the keeper does the rest (promise P6).
    fn settle(&self, disposable: Disposable<'_>, report: &CallReport) -> Result<u8, CallError> {
        let name = disposable.name().to_string();
        disposable.done();
        let CallEnd::Exit(code) = report.end else {
            return Err(CallError::trouble("finish the call in", name, "it ended before the service did"));
        };
        let text = format!("{name} has finished with exit code {code}");
        let event = Event::now(WHO, "ended", &name, text)
            .with("bytes_out", report.bytes_out)
            .with("bytes_back", report.bytes_back)
            .with("exit", code);
        self.tell(event);
        // Exit codes above 255 cannot be passed on; they must not become a success.
        Ok(u8::try_from(code).unwrap_or(255))
    }

    fn pass_over(&self, disposable: &Disposable<'_>, error: &CallError) {
        log::warn!("{error}; trying another disposable");
        let text = format!("{} was passed over: {error}", disposable.name());
        self.tell(Event::now(WHO, "passed-over", disposable.name().as_str(), text));
    }

    fn new(config: Config) -> Self {
        let vchan = vchan::Config { dir: config.vchan_directory.clone(), own: DomId::DOM0 };
        Self {
            own_errors: false,
            admin: Client::new(&config.qubesd_socket),
            hypervisor: Machine::of(config.domains.clone()),
            qrexec: qrexec::client::Client { socket_dir: config.qrexec_sockets.clone(), vchan },
            story: Reporter::to(config.story.as_deref()),
            untold: RefCell::default(),
            config,
        }
    }

    /// Events wait until the stream flows: telling them wakes a listener, who would compete with the call for a CPU.
    fn tell(&self, event: Event) {
        self.untold.borrow_mut().push(event);
    }

    fn flush(&self) {
        self.untold.borrow_mut().drain(..).for_each(|event| self.story.report(&event));
    }
}

impl Drop for Dom0 {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The service's name, of `USER:QUBESRPC NAME+ARGUMENT SOURCE`.
fn service_of(command: &str) -> &str {
    let descriptor = command.split(' ').nth(1).unwrap_or_default();
    descriptor.split('+').next().unwrap_or_default()
}

/// Prints the one line that a failure gets (promise P9). A closed stderr must not turn a clear exit code into another.
fn fail(error: &CallError) -> u8 {
    let line = format!("{WHO}: {error}\n");
    if io::Write::write_all(&mut io::stderr(), line.as_bytes()).is_err() {
        log::error!("{error}");
    }
    if let Ok(config) = Config::load() {
        let step = if error.exit_code() == 126 { "refused" } else { "failed" };
        let event = Event::now(WHO, step, "", error.to_string()).with("exit", error.exit_code());
        Reporter::to(config.story.as_deref()).report(&event);
    }
    error.exit_code()
}

const WHO: &str = "open-in-vm";
