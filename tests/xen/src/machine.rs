//! QEMU with Xen and dom0 in it, in software emulation: every machine can do that.

use crate::error::LabError;
use crate::image::{DOM0, Images, KERNEL, XEN};
use crate::run::REMEDY;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A running machine; ended when dropped.
pub(crate) struct Machine {
    child: Child,
    lines: Receiver<String>,
    console: PathBuf,
    last: String,
}

impl Machine {
    /// Boots it to run the tests, which are reported on its second serial port.
    pub(crate) fn test(images: &Images, cache: &Path) -> Result<Self, LabError> {
        let console = cache.join("console.log");
        // An empty file, so that nobody reads the console of the last run.
        fs::write(&console, b"").map_err(LabError::file("write", &console))?;
        let mut command = qemu(images, "lab=test");
        command.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
        command.args(["-monitor", "none"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn(&mut command)?;
        let (sender, lines) = channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || forward(out, &sender));
        }
        Ok(Self { child, lines, console, last: String::new() })
    }

    /// Boots it with its console on our terminal, and waits for its end.
    pub(crate) fn shell(images: &Images) -> Result<(), LabError> {
        let mut command = qemu(images, "lab=shell");
        command.args(["-serial", "mon:stdio", "-serial", "null"]);
        let status = spawn(&mut command)?.wait();
        status.map(drop).map_err(|source| LabError::Io { step: "wait for", object: "QEMU".into(), source })
    }

    /// The next line of the second serial port.
    pub(crate) fn line(&mut self, patience: Duration) -> Result<String, LabError> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                self.last.clone_from(&line);
                Ok(line)
            }
            Err(RecvTimeoutError::Timeout) => {
                Err(LabError::Silent { after: patience, last: self.last.clone() })
            }
            Err(RecvTimeoutError::Disconnected) => Err(LabError::Ended { last: self.last.clone() }),
        }
    }

    /// The last lines of what Xen and dom0's kernel said.
    pub(crate) fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        let lines = text.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn qemu(images: &Images, word: &str) -> Command {
    // `setpriv` gives its place to QEMU, which then ends with us however we end.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    // rdrand: without it programs wait minutes for random bytes.
    // Names without directories: a comma or blank in a path would be one of QEMU's own.
    command.current_dir(&images.directory);
    command.args(["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "Nehalem,+rdrand"]);
    command.args(["-smp", "2", "-m", "4096", "-display", "none", "-no-reboot", "-net", "none"]);
    command.args(["-kernel", XEN, "-append", XEN_WORDS, "-initrd"]);
    command.arg(format!("{KERNEL} console=hvc0 loglevel=5 panic=1 {KERNEL_WORDS} {word},{DOM0}"));
    command
}

/// What spares the kernel work that takes seconds here and has no part in what is tested.
const KERNEL_WORDS: &str = "mitigations=off nowatchdog rodata=off lsm= audit=0 cryptomgr.notests \
    clocksource=xen tsc=unstable initcall_blacklist=load_system_certificate_list";

/// Memory for dom0 in one piece: Xen would take it from there for guests otherwise.
const XEN_WORDS: &str =
    "dom0_mem=1536M,max:1536M console=com1 com1=115200 loglvl=warning spec-ctrl=no xpti=no cpufreq=none";

fn spawn(command: &mut Command) -> Result<Child, LabError> {
    let there = Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status();
    if there.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Err(LabError::Missing { what: "there is no qemu-system-x86_64".into(), remedy: REMEDY });
    }
    command.spawn().map_err(|source| LabError::Io { step: "start", object: "QEMU".into(), source })
}

fn forward(out: impl Read, lines: &std::sync::mpsc::Sender<String>) {
    // A line that is none, from a guest gone mad, must not fill our memory.
    const LONGEST: u64 = 1 << 16;
    let mut out = BufReader::new(out);
    loop {
        let mut line = Vec::new();
        match out.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        if lines.send(text).is_err() {
            return;
        }
    }
}
