//! What a test leaves behind in dom0: nothing may be there after it that was not there before.

use crate::run::output;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What there is, as far as tests could leave it.
pub(crate) struct Scene(BTreeSet<String>);

impl Scene {
    /// What there is now.
    pub(crate) fn now() -> Self {
        let mut all = BTreeSet::new();
        all.extend(domains().into_iter().map(|id| format!("domain {id} is left over")));
        // /vm and /libxl are the toolstack's own books, of which it keeps some when a domain was not ended by it.
        all.extend(xenstore(&["xenstore-list", "/local/domain"], |name| {
            Some(format!("xenstore still has /local/domain/{name}"))
        }));
        all.extend(xenstore(&["xenstore-ls", "-f", "/local/domain/0"], |line| {
            let path = line.split(" = ").next()?;
            path.contains("/vchan/").then(|| format!("xenstore still has {path}"))
        }));
        all.extend((1..=grants()).map(|number| format!("grant {number} of dom0's memory is still in use")));
        all.extend((1..=devices()).map(|number| format!("{number} open descriptors of grant devices")));
        Self(all)
    }

    /// What has come since, after a while for what is about to go, and what there is now. Domains are destroyed, so that the
    /// next test does not suffer from them.
    pub(crate) fn left(&self) -> (Vec<String>, Self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Self::now();
            let left: Vec<String> = now.0.difference(&self.0).cloned().collect();
            if left.is_empty() {
                return (left, now);
            }
            if Instant::now() > deadline {
                let ids = domains();
                for id in ids.iter().filter(|id| left.contains(&format!("domain {id} is left over"))) {
                    drop(output("destroy", Command::new("xl").args(["destroy", id])));
                }
                return (left, Self::now());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Numbers of the domains that Xen knows, also of those that only half live.
fn domains() -> Vec<String> {
    let list = output("list the domains", Command::new("xl").arg("list")).unwrap_or_default();
    let list = String::from_utf8_lossy(&list).into_owned();
    // A name may be empty, or hold blanks; what comes after it does not.
    let id = |line: &str| line.split_whitespace().nth_back(4).map(str::to_owned);
    list.lines().skip(1).filter_map(id).collect()
}

fn xenstore(words: &[&str], what: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let (program, words) = (words[0], &words[1..]);
    let text = output("ask xenstore", Command::new(program).args(words)).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter_map(what).collect()
}

/// Pages of dom0 that other domains have mapped: Xen prints the tables of all domains into its log.
fn grants() -> usize {
    let xl = |words: &[&str]| output("ask Xen for its grants", Command::new("xl").args(words));
    // What is in the log already is forgotten.
    drop(xl(&["dmesg", "-c"]));
    drop(xl(&["debug-keys", "g"]));
    of_dom0(&String::from_utf8_lossy(&xl(&["dmesg"]).unwrap_or_default()))
}

fn of_dom0(log: &str) -> usize {
    let mut is_dom0 = false;
    let mut count = 0;
    for line in log.lines() {
        if let Some((_, domain)) = line.split_once("grant-table for remote d") {
            is_dom0 = domain.split(' ').next() == Some("0");
        } else if is_dom0 && line.contains("[0x") {
            count += 1;
        }
    }
    count
}

/// Open descriptors, in all processes, of the devices through which memory is shared.
fn devices() -> usize {
    let mut count = 0;
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        count += targets.filter(|target| DEVICES.iter().any(|device| target == Path::new(device))).count();
    }
    count
}

const DEVICES: [&str; 2] = ["/dev/xen/gntalloc", "/dev/xen/gntdev"];
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::of_dom0;

    #[test]
    fn only_grants_of_dom0_are_counted() {
        let log = "(XEN) gnttab_usage_print_all [ key 'g' pressed\n\
                   (XEN) grant-table for remote d0 (v1)\n\
                   (XEN) [0x008]      3 0x123456 0x00000002          0 0x001234 0x19\n\
                   (XEN) [0x009]      3 0x123457 0x00000002          0 0x001235 0x19\n\
                   (XEN) grant-table for remote d3 (v1)\n\
                   (XEN) [0x000]      0 0x123458 0x00000002          3 0x001236 0x19\n\
                   (XEN) gnttab_usage_print_all ] done\n";
        assert_eq!(of_dom0(log), 2);
        assert_eq!(of_dom0(""), 0);
    }
}
