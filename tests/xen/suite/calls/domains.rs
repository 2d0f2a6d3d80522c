//! What Xen itself says of its domains.

use crate::common::{Serve, text};
use hypervisor::Hypervisor;
use hypervisor::xen::Xen;
use names::DomId;
use std::process::{Command, Output};

#[derive(Debug, Clone)]
pub(crate) struct Domain {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) paused: bool,
}

/// All but dom0: also those that only half live, whose name is empty. By libxenctrl: `xl list` takes half a second here.
pub(crate) fn domains() -> Vec<Domain> {
    let xen = Xen::new();
    let info = |id: DomId| xen.info(id).unwrap().map(|info| (info.name.to_string(), info.paused));
    let found = xen.list().unwrap().into_iter().map(|(id, _)| (id, info(id).unwrap_or_default()));
    found.map(|(id, (name, paused))| Domain { name, id: id.to_string(), paused }).collect()
}

/// The names that `xl list` shows, dom0's included.
pub(crate) fn listed() -> Vec<String> {
    let table = text(&xl(&["list"]).stdout);
    table.lines().skip(1).map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}

/// Those that are paused. Which of them a call takes first, the queue alone says.
pub(crate) fn waiting() -> Vec<Domain> {
    domains().into_iter().filter(|domain| domain.paused).collect()
}

/// The one that the next call takes: the first that was ready, which need not be the first that was started.
#[track_caller]
pub(crate) fn next(serve: &Serve) -> Domain {
    let name = serve.place("ready").into_iter().next().expect("one is ready");
    named(&name).expect("it has a domain")
}

pub(crate) fn named(name: &str) -> Option<Domain> {
    domains().into_iter().find(|domain| domain.name == name)
}

pub(crate) fn is_there(id: &str) -> bool {
    domains().iter().any(|domain| domain.id == id)
}

/// Runs `xl`; it must succeed.
#[track_caller]
pub(crate) fn xl(words: &[&str]) -> Output {
    let output = Command::new("xl").args(words).output().unwrap();
    assert!(output.status.success(), "xl {words:?}: {}", text(&output.stderr));
    output
}

/// A domain of somebody else, paused before its first instruction. Destroyed when dropped.
pub(crate) struct Stranger {
    pub(crate) id: String,
}

impl Stranger {
    #[track_caller]
    pub(crate) fn paused(name: &str, mib: u64) -> Self {
        let config = "/tmp/stranger.cfg";
        let text = format!(
            "name = \"{name}\"\ntype = \"pv\"\nkernel = \"/boot/vmlinux\"\nramdisk = \"/boot/guest.cpio\"\nmemory = {mib}\nvcpus = 1\n"
        );
        std::fs::write(config, text).unwrap();
        xl(&["create", "-p", "-q", config]);
        Self { id: named(name).expect("it was made").id }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(Command::new("xl").args(["destroy", &self.id]).status());
    }
}

/// Names of vchan servers that xenstore holds.
pub(crate) fn vchan_names() -> Vec<String> {
    let output = Command::new("xenstore-ls").args(["-f", "/local/domain"]).output().unwrap();
    text(&output.stdout).lines().filter(|line| line.contains("/data/vchan/")).map(str::to_owned).collect()
}
