//! One domain in the registry: a small text file, as Xen keeps a list of domains.

use super::cgroup::Cgroup;
use super::spec::Isolation;
use super::text::{decode, encode};
use names::{QubeName, Uuid};
use os::process::ProcessId;
use std::path::PathBuf;

/// What must be known of a domain by whoever pauses, wakes or destroys it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: QubeName,
    pub(super) uuid: Uuid,
    /// `Namespaces` or `Processes`.
    pub(super) isolation: Isolation,
    /// Its freezer; without one it is paused by signals.
    pub(super) cgroup: Option<Cgroup>,
    pub(super) supervisor: ProcessId,
    /// The first process; none as long as the domain is being set up.
    pub(super) init: Option<ProcessId>,
}

impl Record {
    pub(super) fn to_text(&self) -> String {
        let Self { name, uuid, isolation, cgroup, supervisor, init } = self;
        let isolation = isolation.as_str();
        let (pausing, path) = match cgroup {
            Some(cgroup) => (cgroup.pausing().as_str(), encode(cgroup.path().as_os_str())),
            None => ("signals", "none".to_owned()),
        };
        let init = init.map_or("none".to_owned(), |init| init.to_string());
        format!(
            "name={name}\nuuid={uuid}\nisolation={isolation}\npausing={pausing}\ncgroup={path}\nsupervisor={supervisor}\ninit={init}\n"
        )
    }

    /// Reads [`Record::to_text`] back; the error is the rule that was broken.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        let mut value = |key: &str| {
            let line = lines.next().ok_or("a line is missing")?;
            line.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).ok_or("a line has another name")
        };
        let name = value("name")?.parse().map_err(|_| "the name is none")?;
        let uuid = value("uuid")?.parse().map_err(|_| "the UUID is none")?;
        let isolation = Isolation::from_text(value("isolation")?).ok_or("unknown isolation")?;
        let (pausing, path) = (value("pausing")?, value("cgroup")?);
        let cgroup = match (pausing, path) {
            ("signals", "none") => None,
            (pausing, path) => {
                let path = PathBuf::from(decode(path).ok_or("a broken escape in the cgroup")?);
                Some(Cgroup::named(pausing, path).ok_or("unknown way of pausing")?)
            }
        };
        let supervisor = value("supervisor")?.parse().map_err(|()| "the supervisor is no process")?;
        let init = match value("init")? {
            "none" => None,
            init => Some(init.parse().map_err(|()| "init is no process")?),
        };
        Ok(Self { name, uuid, isolation, cgroup, supervisor, init })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trip() {
        let mut record = Record {
            name: "disp1".parse().unwrap(),
            uuid: Uuid::from_bytes([1; 16]),
            isolation: Isolation::Namespaces,
            cgroup: None,
            supervisor: ProcessId { pid: 10, start: 11 },
            init: Some(ProcessId { pid: 12, start: 13 }),
        };
        assert_eq!(Record::parse(&record.to_text()), Ok(record.clone()));
        record.init = None;
        record.cgroup = Cgroup::named("cgroup-v1", "/sys/fs/cgroup/a b\n/x".into());
        assert!(record.cgroup.is_some());
        let text = record.to_text();
        assert_eq!(Record::parse(&text), Ok(record));
        for cut in 0..text.len() - 1 {
            assert!(Record::parse(&text[..cut]).is_err(), "{cut}");
        }
    }
}
