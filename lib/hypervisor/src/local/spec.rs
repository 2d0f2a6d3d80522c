//! What a qube is to be, and its form on the pipe to the supervisor.

use super::etc::HOST_ETC;
use super::root::SYSTEM;
use super::text::{fields, line};
use crate::HypervisorError;
use names::{DomId, QubeName, UserName, Uuid};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// A directory or file of the machine that a qube sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The path on the machine.
    pub source: PathBuf,
    /// The absolute path inside.
    pub target: PathBuf,
    /// Whether the qube may write there.
    pub writable: bool,
}

/// How strongly a qube is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Namespaces where the machine allows them, else plain processes. [`super::Created`] tells which it became.
    Auto,
    /// User, mount, pid, ipc, uts and network namespaces, or failure.
    Namespaces,
    /// Plain processes with paths given by environment: no isolation at all.
    Processes,
}

/// How a qube is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pausing {
    /// The first of the others that the machine allows, in their order here.
    Auto,
    /// The freezer of cgroup v2.
    CgroupV2,
    /// The freezer controller of cgroup v1.
    CgroupV1,
    /// SIGSTOP to every process.
    Signals,
}

/// What a qube is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its number, not in use.
    pub domid: DomId,
    /// Its identity.
    pub uuid: Uuid,
    /// Its name, also its host name inside.
    pub name: QubeName,
    /// The qube's own directory on disk, existing, given to this qube alone. Its `private` becomes the home, `tmp` and `var-tmp`
    /// the temporary directories, `console.log` gets what its processes print. The owner removes it after the qube's end.
    pub directory: PathBuf,
    /// What it sees of the machine beside the system directories.
    pub mounts: Vec<Mount>,
    /// The executable that answers to all of `program_names`.
    pub programs: PathBuf,
    /// Names under `/run/qubes/bin`, first in PATH.
    pub program_names: Vec<String>,
    /// Services: (file name under `/etc/qubes-rpc`, name of the program under `/run/qubes/bin` that it leads to).
    pub services: Vec<(String, String)>,
    /// Files under `/etc/qubes/rpc-config`: (name, content).
    pub rpc_config: Vec<(String, String)>,
    /// Environment of the first program beside HOME, USER, LOGNAME, SHELL, PATH and the like, which these may override.
    pub environment: Vec<(String, String)>,
    /// The first program and its arguments, for example `["/run/qubes/bin/qrexec-agent"]`. When it ends, the qube ends.
    pub command: Vec<String>,
    /// How strongly to keep it apart.
    pub isolation: Isolation,
    /// How to pause it.
    pub pausing: Pausing,
    /// Name of the user inside, uid and gid 1000.
    pub user: UserName,
}

impl Spec {
    /// Refuses what would be misunderstood later: names that are no file names, relative paths.
    ///
    /// # Errors
    /// [`HypervisorError::BadSpec`] with the first thing that is wrong.
    pub fn check(&self) -> Result<(), HypervisorError> {
        let broken = |text: String| Err(HypervisorError::BadSpec(text));
        if self.domid == DomId::DOM0 || self.name.is_dom0() {
            return broken("dom0 is no qube".to_owned());
        }
        let services = self.services.iter().flat_map(|(name, program)| [name, program]);
        let configs = self.rpc_config.iter().map(|(name, _)| name);
        for name in self.program_names.iter().chain(services).chain(configs) {
            if !is_file_name(name) {
                return broken(format!("{name:?} is no file name"));
            }
        }
        let targets = self.mounts.iter().map(|mount| &mount.target);
        let sources = self.mounts.iter().map(|mount| &mount.source);
        for path in [&self.directory, &self.programs].into_iter().chain(targets).chain(sources) {
            if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
                return broken(format!("{} is not absolute", path.display()));
            }
        }
        if let Some(mount) = self.mounts.iter().find(|mount| !is_free(&mount.target)) {
            return broken(format!("{} is no place for a mount", mount.target.display()));
        }
        if let Some((name, _)) = self
            .environment
            .iter()
            .find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0'))
        {
            return broken(format!("{name:?} cannot be set in an environment"));
        }
        match self.command.first() {
            Some(program) if program.starts_with('/') => Ok(()),
            _ => broken("the command is not an absolute path".to_owned()),
        }
    }

    /// The lines that [`Spec::parse`] reads back.
    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        let mut put = |fields: &[&OsStr]| out.push_str(&line(fields));
        put(&["domid".as_ref(), self.domid.to_string().as_ref()]);
        put(&["uuid".as_ref(), self.uuid.to_string().as_ref()]);
        put(&["name".as_ref(), self.name.as_str().as_ref()]);
        put(&["user".as_ref(), self.user.as_str().as_ref()]);
        put(&["directory".as_ref(), self.directory.as_os_str()]);
        put(&["programs".as_ref(), self.programs.as_os_str()]);
        put(&["isolation".as_ref(), self.isolation.as_str().as_ref()]);
        put(&["pausing".as_ref(), self.pausing.as_str().as_ref()]);
        for Mount { source, target, writable } in &self.mounts {
            let mode = if *writable { "rw" } else { "ro" };
            put(&["mount".as_ref(), mode.as_ref(), source.as_os_str(), target.as_os_str()]);
        }
        for name in &self.program_names {
            put(&["program".as_ref(), name.as_ref()]);
        }
        for (name, program) in &self.services {
            put(&["service".as_ref(), name.as_ref(), program.as_ref()]);
        }
        for (name, content) in &self.rpc_config {
            put(&["config".as_ref(), name.as_ref(), content.as_ref()]);
        }
        for (name, value) in &self.environment {
            put(&["env".as_ref(), name.as_ref(), value.as_ref()]);
        }
        for argument in &self.command {
            put(&["command".as_ref(), argument.as_ref()]);
        }
        out
    }

    /// Reads the lines of [`Spec::to_text`]; `None` when a line is not one of them, or one is missing.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut domid, mut uuid, mut name, mut user) = (None, None, None, None);
        let (mut directory, mut programs, mut isolation, mut pausing) = (None, None, None, None);
        let (mut mounts, mut program_names, mut services) = (Vec::new(), Vec::new(), Vec::new());
        let (mut rpc_config, mut environment, mut command) = (Vec::new(), Vec::new(), Vec::new());
        for line in text.lines() {
            let fields = fields(line)?;
            let (key, values) = fields.split_first()?;
            match (key.to_str()?, values) {
                ("domid", [value]) => domid = Some(value.to_str()?.parse().ok()?),
                ("uuid", [value]) => uuid = Some(value.to_str()?.parse().ok()?),
                ("name", [value]) => name = Some(value.to_str()?.parse().ok()?),
                ("user", [value]) => user = Some(value.to_str()?.parse().ok()?),
                ("directory", [value]) => directory = Some(PathBuf::from(value)),
                ("programs", [value]) => programs = Some(PathBuf::from(value)),
                ("isolation", [value]) => isolation = Some(Isolation::from_text(value.to_str()?)?),
                ("pausing", [value]) => pausing = Some(Pausing::from_text(value.to_str()?)?),
                ("mount", [mode, source, target]) => mounts.push(Mount {
                    source: PathBuf::from(source),
                    target: PathBuf::from(target),
                    writable: mode == "rw",
                }),
                ("program", [value]) => program_names.push(string(value)?),
                ("service", [name, program]) => services.push((string(name)?, string(program)?)),
                ("config", [name, content]) => rpc_config.push((string(name)?, string(content)?)),
                ("env", [name, value]) => environment.push((string(name)?, string(value)?)),
                ("command", [argument]) => command.push(string(argument)?),
                _ => return None,
            }
        }
        Some(Self {
            domid: domid?,
            uuid: uuid?,
            name: name?,
            user: user?,
            directory: directory?,
            programs: programs?,
            isolation: isolation?,
            pausing: pausing?,
            mounts,
            program_names,
            services,
            rpc_config,
            environment,
            command,
        })
    }
}

impl Isolation {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Namespaces => "namespaces",
            Self::Processes => "processes",
        }
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        [Self::Auto, Self::Namespaces, Self::Processes].into_iter().find(|value| value.as_str() == text)
    }
}

impl Pausing {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::CgroupV2 => "cgroup-v2",
            Self::CgroupV1 => "cgroup-v1",
            Self::Signals => "signals",
        }
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        [Self::Auto, Self::CgroupV2, Self::CgroupV1, Self::Signals]
            .into_iter()
            .find(|value| value.as_str() == text)
    }
}

fn is_file_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name && !name.contains('\0'))
}

/// Whether a mount may be put there: creating its place must not create anything on the machine.
fn is_free(target: &Path) -> bool {
    let top = target.components().nth(1).and_then(|top| top.as_os_str().to_str());
    top.is_some_and(|top| !SYSTEM.contains(&top) && !["dev", "etc", "proc", "sys", HOST_ETC].contains(&top))
}

fn string(field: &OsString) -> Option<String> {
    field.to_str().map(str::to_owned)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::local) fn sample() -> Spec {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        Spec {
            domid: 5u32.try_into().unwrap(),
            uuid: Uuid::from_bytes([7; 16]),
            name: "disp5".parse().unwrap(),
            directory: "/state dir/disp5".into(),
            mounts: vec![Mount { source: "/v\n".into(), target: "/run/vchan".into(), writable: true }],
            programs: "/opt/p".into(),
            program_names: vec!["qrexec-agent".to_owned()],
            services: vec![pair("qubes.OpenInVM", "open-in-vm")],
            rpc_config: vec![pair("qubes.VMShell", "wait-for-session = true\n")],
            environment: vec![pair("A", ""), pair("B", "%20 =\n")],
            command: vec!["/run/qubes/bin/qrexec-agent".to_owned(), String::new()],
            isolation: Isolation::Auto,
            pausing: Pausing::CgroupV1,
            user: "user".parse().unwrap(),
        }
    }

    #[test]
    fn text_round_trip() {
        let spec = sample();
        assert_eq!(Spec::parse(&spec.to_text()), Some(spec.clone()));
        assert_eq!(Spec::parse(&spec.to_text().replace("domid 5\n", "")), None);
        assert_eq!(Spec::parse(&format!("{}more x\n", spec.to_text())), None);
    }

    #[test]
    fn what_would_be_misunderstood_is_refused() {
        assert!(sample().check().is_ok());
        let wrong: [fn(&mut Spec); 8] = [
            |spec| spec.domid = DomId::DOM0,
            |spec| spec.program_names.push("../x".to_owned()),
            |spec| spec.services[0].0 = "a/b".to_owned(),
            |spec| spec.mounts[0].target = "run".into(),
            |spec| spec.mounts[0].target = "/usr/new".into(),
            |spec| spec.mounts[0].target = "/".into(),
            |spec| spec.environment[0].0 = "A=B".to_owned(),
            |spec| spec.command.clear(),
        ];
        for change in wrong {
            let mut spec = sample();
            change(&mut spec);
            assert!(spec.check().is_err(), "{spec:?}");
        }
    }
}
