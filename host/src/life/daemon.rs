//! The qrexec daemon of a qube.

use super::start::{Failure, Plan};
use crate::dom0::Dom0;
use crate::process::Process;
use admin::PowerState;
use nix::sys::inotify::AddWatchFlags;
use os::watch::Watch;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the wait for the daemon's socket looks whether there is still something to wait for.
const LOOK: Duration = Duration::from_millis(100);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the daemon; it makes its socket when the qube's agent answers.
pub(super) fn start(dom0: &Arc<Dom0>, plan: &Plan) -> io::Result<Arc<Process>> {
    let layout = dom0.layout();
    let log = open_log(&layout.log().join(format!("{}.log", plan.name)))?;
    let option = |name: &str, path: &Path| {
        let mut text = std::ffi::OsString::from(format!("--{name}="));
        text.push(path);
        text
    };
    let mut command = Command::new(&dom0.config.executable);
    command
        .arg0("qrexec-daemon")
        .args(["-D", "-u", &plan.uuid.to_string()])
        .arg(option("socket-dir", &layout.run()))
        .arg(option("policy-socket", dom0.config.policy_socket.as_ref().unwrap_or(&layout.policy_socket())))
        .arg(option("qubesd-socket", &layout.qubesd_socket()))
        // The machine's own policy, should it have one, is none of ours.
        .arg(option("policy-program", &layout.state().join("etc/qrexec-policy-exec")));
    if let Some(story) = &dom0.config.story {
        command.arg(option("story", story));
    }
    command.arg("--").args([plan.domid.to_string(), plan.name.to_string(), plan.user.clone()]);
    environment(dom0, &mut command);
    if plan.qrexec {
        command.env("QREXEC_STARTUP_TIMEOUT", plan.limit.as_secs().to_string());
    } else {
        command.env("QREXEC_STARTUP_NOWAIT", "1");
    }
    command.stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
    let record = layout.processes().join(format!("qrexec-daemon.{}", plan.domid));
    let (dom0, name, domid) = (dom0.clone(), plan.name.clone(), plan.domid);
    Process::start(command, record, move |status| {
        let is_unexpected = dom0.look(|state| {
            let qube = state.store.get(&name).filter(|_| state.lives.domid(&name) == Some(domid));
            qube.is_some_and(|qube| qube.runtime.state != PowerState::Dying)
        });
        if is_unexpected {
            log::error!("the qrexec daemon of {name} ended by itself: {status}");
        }
    })
}

/// What every program of dom0 gets: nothing of the user's environment but the wish for log lines.
pub(crate) fn environment(dom0: &Dom0, command: &mut Command) {
    let layout = dom0.layout();
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", layout.state())
        .env("VCHAN_SOCKET_DIR", dom0.config.vchan())
        .env("VCHAN_DOMAIN", "0")
        .env("QREXEC_SERVICE_PATH", layout.services())
        .env("QUBES_RPC_CONFIG_PATH", layout.rpc_config())
        .env("QUBES_DISPVM_CONFIG", layout.dispvm_config())
        .current_dir(layout.state());
    for variable in ["RUST_LOG", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(variable) {
            command.env(variable, value);
        }
    }
}

pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Watches for the daemon's socket; made before the daemon is started, so that nothing is missed.
pub(super) struct Doorstep {
    names: Watch,
}

impl Doorstep {
    pub(super) fn watch(dom0: &Dom0) -> Self {
        let made = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
        Self { names: Watch::on(&dom0.layout().run(), made) }
    }

    /// Waits until the qube can be called by its name.
    pub(super) fn wait(&self, dom0: &Dom0, plan: &Plan, daemon: &Process) -> Result<(), Failure> {
        let (link, socket) = (dom0.layout().daemon_link(&plan.name), dom0.layout().daemon_socket(plan.domid));
        let until = Instant::now() + plan.limit;
        loop {
            if fs::read_link(&link).is_ok_and(|text| text.file_name() == socket.file_name()) {
                return Ok(());
            }
            if daemon.has_ended() {
                let log = dom0.layout().log().join(format!("{}.log", plan.name));
                return Err(Failure(format!("its qrexec daemon ended: {}", last_line(&log))));
            }
            if !dom0.look(|state| plan.is_current(state)) {
                return Err(Failure("it ended before it could be called".into()));
            }
            if Instant::now() >= until {
                let seconds = plan.limit.as_secs();
                return Err(Failure(format!("cannot connect to its qrexec agent for {seconds} seconds")));
            }
            if let Err(error) = self.names.wait(LOOK) {
                log::debug!("waiting for the daemon of {}: {error}", plan.name);
            }
        }
    }
}

/// Removes what a daemon that had no time for it has left.
pub(super) fn remove_sockets(dom0: &Dom0, name: &names::QubeName, domid: names::DomId, uuid: names::Uuid) {
    let layout = dom0.layout();
    let socket = layout.daemon_socket(domid);
    for link in [layout.daemon_link(name), layout.run().join(format!("qrexec.uuid:{uuid}"))] {
        if fs::read_link(&link).is_ok_and(|text| text.file_name() == socket.file_name()) {
            quietly(fs::remove_file(&link));
        }
    }
    quietly(fs::remove_file(&socket));
}

fn quietly(result: io::Result<()>) {
    if let Err(error) = result {
        // Most often the daemon was faster.
        log::trace!("{error}");
    }
}

/// The end of a log, for a message.
fn last_line(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(2048)))?;
        let mut bytes = Vec::new();
        file.take(2048).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let line = bytes.split(|&byte| byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
    match line {
        b"" => format!("see {}", path.display()),
        line => names::printable(line).to_string(),
    }
}
