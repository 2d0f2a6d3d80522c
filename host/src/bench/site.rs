//! A host to measure on.

use super::queue::is_settled;
use super::stream::rate;
use crate::cli::Failure;
use crate::cli::story::{Form, Story};
use crate::xen::XenSettings;
use crate::{DEFAULT_TEMPLATE, Host, HostConfig, Layout};
use names::{DomId, QubeName, QubeRef};
use qrexec::client::Client;
use qrexec::data::{CallEnd, Options};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use trace::Event;

/// An embedded dom0 in a directory of its own, in whose qubes qubes.OpenInVM is the probe.
pub(super) struct Site {
    host: Host,
    layout: Layout,
    story: Story,
    template: QubeName,
    preload: usize,
    /// Where dom0 finds vchans.
    vchan: PathBuf,
}

/// A fresh directory, in memory where there is such a place.
pub(super) fn directory(what: &str) -> Result<PathBuf, Failure> {
    let path = crate::cli::directory_in_memory()?.join(format!("open-bench-{}-{what}", std::process::id()));
    std::fs::create_dir_all(&path).map_err(|error| Failure::trouble("make", path.display(), error))?;
    Ok(path)
}

impl Site {
    /// Starts it, with `work` running and `preload` disposables waiting.
    pub(super) fn open(preload: usize) -> Result<Self, Failure> {
        Self::open_on(preload, None)
    }

    /// The same; with settings for Xen its qubes are domains.
    pub(super) fn open_on(preload: usize, xen: Option<XenSettings>) -> Result<Self, Failure> {
        let state = directory(&format!("site-{preload}"))?;
        let failed =
            |error: &dyn std::fmt::Display| Failure::trouble("start a host in", state.display(), error);
        let layout = Layout::new(&state);
        layout.create().map_err(|error| failed(&error))?;
        let services = vec![("bench.Probe".to_owned(), "bench-probe".to_owned())];
        let config = HostConfig {
            environment: vec![(super::VARIABLE.to_owned(), "1".to_owned())],
            story: Some(layout.story_socket()),
            services,
            xen,
            policy: vec![("20-bench.policy".into(), "bench.Probe * @anyvm @anyvm allow\n".into())],
            ..HostConfig::new(layout.clone(), std::env::current_exe().map_err(|error| failed(&error))?)
        };
        let story = Story::listen(&layout.story_socket(), Form::Silent).map_err(|error| failed(&error))?;
        let vchan = config.vchan();
        let host = Host::start(config).map_err(|error| failed(&error))?;
        host.start_qube("work").map_err(|error| failed(&error))?;
        let template = DEFAULT_TEMPLATE.parse().map_err(|error: names::NameError| failed(&error))?;
        let mut site = Self { host, layout, story, template, preload, vchan };
        let delay = if site.is_on_xen() { XEN_REFILL_DELAY } else { REFILL_DELAY };
        let reference = QubeRef::Name(site.template.clone());
        site.admin()
            .feature_set(&reference, "preload-dispvm-delay", delay)
            .map_err(|error| failed(&error))?;
        site.preload(preload)?;
        Ok(site)
    }

    /// Has so many disposables wait, and waits until they do.
    pub(super) fn preload(&mut self, count: usize) -> Result<(), Failure> {
        self.preload = count;
        let reference = QubeRef::Name(self.template.clone());
        self.admin()
            .feature_set(&reference, "preload-dispvm-max", &count.to_string())
            .map_err(|error| Failure::trouble("set", "how many disposables wait", error))?;
        self.wait_until_settled()
    }

    pub(super) fn is_on_xen(&self) -> bool {
        self.vchan == Path::new(vchan::Config::XEN)
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn template(&self) -> &QubeName {
        &self.template
    }

    /// A second AppVM that runs, to be called directly.
    pub(super) fn start_running_qube(&self) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::trouble("start", "a qube to call", error);
        let dom0 = QubeName::dom0();
        self.admin()
            .call("admin.vm.Create.AppVM", crate::SYSTEM_TEMPLATE, dom0.as_str(), b"name=running label=red")
            .map_err(|error| failed(&error))?;
        // With this feature its start waits until it can be called.
        let running = "running".parse().map_err(|error: names::NameError| failed(&error))?;
        self.admin().feature_set(&QubeRef::Name(running), "qrexec", "1").map_err(|error| failed(&error))?;
        self.host.start_qube("running").map_err(|error| failed(&error))
    }

    /// Waits until the queue is full and nothing is being made or destroyed.
    pub(super) fn wait_until_settled(&self) -> Result<(), Failure> {
        self.wait_until_settled_of(&self.template, self.preload)
    }

    fn wait_until_settled_of(&self, template: &QubeName, preload: usize) -> Result<(), Failure> {
        let limit = SETTLE_LIMIT * if self.is_on_xen() { 10 } else { 1 };
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if is_settled(&self.layout, template, preload) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(Failure::trouble(
            "wait for",
            "the queue",
            format!("it was not full within {} s", limit.as_secs()),
        ))
    }

    /// The service executable as qrexec-daemon would start it for a call of `work`.
    pub(super) fn service(&self, service: &str, keyword: &str) -> Command {
        let executable = std::env::current_exe().unwrap_or_default();
        let mut command = Command::new(executable);
        command
            .arg0(service)
            .env_clear()
            .env("QUBES_DISPVM_CONFIG", self.layout.dispvm_config())
            .env("QREXEC_REMOTE_DOMAIN", "work")
            .env("QREXEC_SERVICE_ARGUMENT", "")
            .env("QREXEC_REQUESTED_TARGET_TYPE", "keyword")
            .env("QREXEC_REQUESTED_TARGET_KEYWORD", keyword);
        command
    }

    /// The same, run by a program that counts (`bench-count`, `bench-switches`).
    pub(super) fn counted_service(
        &self,
        counter: &str,
        result: &Path,
        service: &str,
        keyword: &str,
    ) -> Command {
        let plain = self.service(service, keyword);
        let mut command = Command::new(plain.get_program());
        command.arg0(counter).arg(result).arg(plain.get_program()).arg(service).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// So many templates more, one disposable of each waiting.
    pub(super) fn preload_more_templates(&self, count: usize) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::trouble("make", "templates", error);
        let (admin, dom0) = (self.admin(), QubeName::dom0());
        let mut templates = Vec::new();
        for number in 0..count {
            let name: QubeName =
                format!("template-{number}").parse().map_err(|error: names::NameError| failed(&error))?;
            let payload = format!("name={name} label=red");
            admin
                .call("admin.vm.Create.AppVM", crate::SYSTEM_TEMPLATE, dom0.as_str(), payload.as_bytes())
                .map_err(|error| failed(&error))?;
            let reference = QubeRef::Name(name.clone());
            let set = |feature: &str| admin.feature_set(&reference, feature, "1");
            set("qrexec")
                .and_then(|()| set("supported-rpc.qubes.WaitForRunningSystem"))
                .and_then(|()| set("supported-rpc.qubes.WaitForSession"))
                .and_then(|()| admin.property_set(&reference, "template_for_dispvms", "True"))
                .and_then(|()| set("preload-dispvm-max"))
                .map_err(|error| failed(&error))?;
            templates.push(name);
        }
        templates.iter().try_for_each(|template| self.wait_until_settled_of(template, 1))
    }

    /// Whole calls from `work`, in nanoseconds each.
    pub(super) fn call(&self, target: &str, service: &str, count: usize) -> Result<Vec<u64>, Failure> {
        let text = self.in_work(&["bench-caller", target, service, &count.to_string()])?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// MiB a second from a program in `work` to a service: from its first byte there to its last.
    pub(super) fn pour(&self, target: &str, service: &str, mib: u32) -> Result<f64, Failure> {
        let text = self.in_work(&["bench-pour", target, service, &mib.to_string()])?;
        let mut words = text.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        match (words.next(), words.next(), words.next()) {
            (Some(first), Some(last), Some(count)) if count == u64::from(mib) << 20 => {
                Ok(rate(count, last - first))
            }
            _ => Err(Failure::trouble("measure", "a stream", format!("the probe said \"{}\"", text.trim()))),
        }
    }

    /// Events so far, which are then forgotten. Those of a call that has ended have all been sent.
    pub(super) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.story.next(Duration::from_millis(20))).collect()
    }

    pub(super) fn forget_events(&mut self) {
        while self.story.next(Duration::ZERO).is_some() {}
    }

    /// Takes everything down.
    pub(super) fn close(self) -> Result<(), Failure> {
        let state = self.layout.state().to_owned();
        let failed =
            |error: &dyn std::fmt::Display| Failure::trouble("take down the host in", state.display(), error);
        self.host.stop().map_err(|error| failed(&error))?;
        std::fs::remove_dir_all(&state).map_err(|error| failed(&error))
    }

    fn admin(&self) -> admin::Client {
        admin::Client::new(self.layout.qubesd_socket())
    }

    fn in_work(&self, words: &[&str]) -> Result<String, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::trouble("run in work", words.join(" "), error);
        let vchan = vchan::Config { dir: self.vchan.clone(), own: DomId::DOM0 };
        let client = Client { socket_dir: self.layout.run(), vchan };
        let command = format!("DEFAULT:QUBESRPC qubes.VMExec+{} dom0", vm::vmexec::encode(words));
        let (mut ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
        let errors = std::io::stderr();
        let errors =
            std::os::fd::AsFd::as_fd(&errors).try_clone_to_owned().map_err(|error| failed(&error))?;
        let call = client.start("work", &command).map_err(|error| failed(&error))?;
        let connected = call.connect().map_err(|error| failed(&error))?;
        let report = connected
            .run(None, OwnedFd::from(theirs), errors.into(), &Options::default())
            .map_err(|error| failed(&error))?;
        if report.end != CallEnd::Exit(0) {
            return Err(failed(&format!("{:?}", report.end)));
        }
        let mut text = String::new();
        ours.read_to_string(&mut text).map_err(|error| failed(&error))?;
        Ok(text)
    }
}

const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Seconds. As in everyday use, a refill does not compete with the call that made it necessary.
const REFILL_DELAY: &str = "0.2";
/// A call takes longer there, above all where all is emulated.
const XEN_REFILL_DELAY: &str = "4";
