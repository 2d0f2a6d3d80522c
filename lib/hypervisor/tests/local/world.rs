//! A registry and directories of its own for each test, and ways to look at what a qube really does.

pub(crate) use fixture::eventually;
use hypervisor::local::{Created, Isolation, Local, Pausing, Spec};
use hypervisor::{Hypervisor, HypervisorError};
use names::{DomId, Uuid};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Names the supervisor's executable for tests that run where the original cannot be reached.
pub(crate) const SUPERVISOR_VARIABLE: &str = "HYPERVISOR_TEST_SUPERVISOR";

/// Every way to run a qube that a test can ask for.
pub(crate) const WAYS: [(Isolation, Pausing); 6] = [
    (Isolation::Namespaces, Pausing::CgroupV2),
    (Isolation::Namespaces, Pausing::CgroupV1),
    (Isolation::Namespaces, Pausing::Signals),
    (Isolation::Processes, Pausing::CgroupV2),
    (Isolation::Processes, Pausing::CgroupV1),
    (Isolation::Processes, Pausing::Signals),
];

pub(crate) struct World {
    pub(crate) top: TempDir,
    pub(crate) local: Local,
}

impl World {
    pub(crate) fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let local = Local::new(top.path().join("domains"));
        Self { top, local }
    }

    /// A qube that runs a shell script.
    pub(crate) fn spec(&self, domid: u32, (isolation, pausing): (Isolation, Pausing), script: &str) -> Spec {
        let directory = self.top.path().join(format!("qube{domid}"));
        fs::create_dir_all(&directory).unwrap();
        let uuid = unique_uuid();
        Spec {
            domid: id(domid),
            uuid,
            name: format!("qube{domid}").parse().unwrap(),
            directory,
            mounts: Vec::new(),
            programs: supervisor(),
            program_names: vec!["qrexec-agent".to_owned()],
            services: vec![("test.Service".to_owned(), "qrexec-agent".to_owned())],
            rpc_config: vec![("test.Service".to_owned(), "wait-for-session = false\n".to_owned())],
            environment: vec![("TEST_MARK".to_owned(), uuid.to_string())],
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            isolation,
            pausing,
            user: "user".parse().unwrap(),
        }
    }

    /// Starts it; `None`, said loudly, where the machine offers no such thing to this user.
    pub(crate) fn start(&self, spec: &Spec) -> Option<Created> {
        match self.local.create(spec, &supervisor()) {
            Ok(created) => Some(created),
            Err(HypervisorError::Unavailable(why)) => {
                println!("SKIPPED {:?} with {:?}: {why}", spec.isolation, spec.pausing);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What must hold after any end of a qube.
    pub(crate) fn assert_nothing_left(&self, spec: &Spec, record: &str) {
        assert_eq!(marked(spec.uuid), Vec::<i32>::new(), "processes left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(spec.directory.to_str().unwrap()), "mounts left");
        if let Some(cgroup) = cgroup_in(record) {
            assert!(!cgroup.exists(), "{} left", cgroup.display());
        }
        assert!(!self.record_path(spec.domid).exists(), "record left");
        assert_eq!(self.local.info(spec.domid).unwrap(), None);
        let files: Vec<_> = fs::read_dir(self.top.path().join("domains")).unwrap().flatten().collect();
        assert!(files.iter().all(|file| !file.file_name().to_str().unwrap().starts_with('.')), "{files:?}");
    }

    pub(crate) fn record(&self, domid: DomId) -> String {
        fs::read_to_string(self.record_path(domid)).unwrap()
    }

    pub(crate) fn record_path(&self, domid: DomId) -> PathBuf {
        self.top.path().join("domains").join(domid.to_string())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for swept in self.local.sweep() {
            swept.result.unwrap();
        }
    }
}

pub(crate) fn id(domid: u32) -> DomId {
    domid.try_into().unwrap()
}

pub(crate) fn supervisor() -> PathBuf {
    std::env::var_os(SUPERVISOR_VARIABLE)
        .map_or_else(|| env!("CARGO_BIN_EXE_qube-supervisor").into(), PathBuf::from)
}

/// All processes that were started with this qube's mark in their environment.
pub(crate) fn marked(uuid: Uuid) -> Vec<i32> {
    let mark = format!("TEST_MARK={uuid}");
    let pids =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|setting| setting == mark.as_bytes())
    })
    .collect()
}

pub(crate) fn cgroup_in(record: &str) -> Option<PathBuf> {
    let path = record.lines().find_map(|line| line.strip_prefix("cgroup=")).unwrap();
    (path != "none").then(|| PathBuf::from(path))
}

pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn unique_uuid() -> Uuid {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&std::process::id().to_be_bytes());
    bytes[4..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes[8..].copy_from_slice(&os::monotonic_ns().to_be_bytes());
    Uuid::from_random(bytes)
}
