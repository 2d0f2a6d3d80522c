//! Where things of a qube are: in namespaces at the usual places, without them below the qube's directory; and the
//! environment that tells its programs so.

use super::destroy::MARK;
use super::spec::{Isolation, Spec};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

pub(super) const PRIVATE: &str = "private";
pub(super) const TMP: &str = "tmp";
pub(super) const VAR_TMP: &str = "var-tmp";
pub(super) const CONSOLE: &str = "console.log";
pub(super) const PROGRAM_DIRECTORY: &str = "/run/qubes/bin";
pub(super) const SERVICE_DIRECTORY: &str = "/etc/qubes-rpc";
pub(super) const CONFIG_DIRECTORY: &str = "/etc/qubes/rpc-config";
pub(super) const RUNTIME_DIRECTORY: &str = "/run/user/1000";

/// Translates paths as the qube names them into paths that work.
#[derive(Debug)]
pub(super) struct Layout {
    isolation: Isolation,
    home: String,
    /// (inside, outside); empty where the qube sees its own root.
    places: Vec<(PathBuf, PathBuf)>,
}

impl Layout {
    /// `isolation` is what was reached, not what was asked for.
    pub(super) fn new(spec: &Spec, isolation: Isolation) -> Self {
        let home = format!("/home/{}", spec.user);
        let mut places: Vec<(PathBuf, PathBuf)> = Vec::new();
        if isolation == Isolation::Processes {
            let own = |inside: &str, outside: &str| (PathBuf::from(inside), spec.directory.join(outside));
            places.extend([
                own(&home, PRIVATE),
                own("/tmp", TMP),
                own("/var/tmp", VAR_TMP),
                own("/run/qubes", "run"),
                own(PROGRAM_DIRECTORY, "bin"),
                own(SERVICE_DIRECTORY, "etc/qubes-rpc"),
                own(CONFIG_DIRECTORY, "etc/rpc-config"),
                own(RUNTIME_DIRECTORY, "run/user"),
            ]);
            places.extend(spec.mounts.iter().map(|mount| (mount.target.clone(), mount.source.clone())));
        }
        Self { isolation, home, places }
    }

    /// The path that works for what the qube calls `inside`; any other text is left as it is.
    pub(super) fn place(&self, inside: impl AsRef<OsStr>) -> OsString {
        let inside = inside.as_ref();
        let path = Path::new(inside);
        let below = |(within, outside): &(PathBuf, PathBuf)| {
            let rest = path.strip_prefix(within).ok()?;
            let depth = within.components().count();
            Some((depth, if rest.as_os_str().is_empty() { outside.clone() } else { outside.join(rest) }))
        };
        let deepest = self.places.iter().filter_map(below).max_by_key(|(depth, _)| *depth);
        deepest.map_or_else(|| inside.to_owned(), |(_, path)| path.into_os_string())
    }

    pub(super) fn home(&self) -> OsString {
        self.place(&self.home)
    }

    /// The whole environment of the first program.
    pub(super) fn environment(&self, spec: &Spec) -> BTreeMap<OsString, OsString> {
        let mut path = self.place(PROGRAM_DIRECTORY);
        path.push(":/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
        let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
        let mut all: BTreeMap<OsString, OsString> = BTreeMap::new();
        let mut set = |name: &str, value: &OsStr| all.insert(name.into(), value.to_owned());
        set("HOME", &self.home());
        set("USER", spec.user.as_str().as_ref());
        set("LOGNAME", spec.user.as_str().as_ref());
        set("SHELL", shell.as_ref());
        set("PATH", &path);
        set("LANG", "C.UTF-8".as_ref());
        set("XDG_RUNTIME_DIR", &self.place(RUNTIME_DIRECTORY));
        if self.isolation == Isolation::Processes {
            set("TMPDIR", &self.place("/tmp"));
            set("QREXEC_AGENT_SOCKET", &self.place("/run/qubes/qrexec-agent"));
            set("QREXEC_SERVICE_PATH", &self.place(SERVICE_DIRECTORY));
            set("QUBES_RPC_CONFIG_PATH", &self.place(CONFIG_DIRECTORY));
        }
        for (name, value) in &spec.environment {
            set(name, &self.place(value));
        }
        if self.isolation == Isolation::Processes {
            set(MARK, spec.uuid.to_string().as_ref());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::sample;
    use super::*;

    #[test]
    fn namespaces_leave_every_path_alone() {
        let layout = Layout::new(&sample(), Isolation::Namespaces);
        assert_eq!(layout.place("/run/vchan/x"), "/run/vchan/x");
        assert!(!layout.environment(&sample()).contains_key(OsStr::new("QREXEC_AGENT_SOCKET")));
    }

    #[test]
    fn processes_get_the_deepest_place() {
        let layout = Layout::new(&sample(), Isolation::Processes);
        for (inside, outside) in [
            ("/run/qubes/bin/qrexec-agent", "/state dir/disp5/bin/qrexec-agent"),
            ("/run/qubes/qrexec-agent", "/state dir/disp5/run/qrexec-agent"),
            ("/run/vchan/vchan.0.sock", "/v\n/vchan.0.sock"),
            ("/run/vchan", "/v\n"),
            ("/run/vchannel", "/run/vchannel"),
            ("/usr/bin/true", "/usr/bin/true"),
            ("-c", "-c"),
            ("", ""),
        ] {
            assert_eq!(layout.place(inside), outside);
        }
        let environment = layout.environment(&sample());
        assert_eq!(environment[OsStr::new("HOME")], "/state dir/disp5/private");
        assert!(environment[OsStr::new("PATH")].to_str().unwrap().starts_with("/state dir/disp5/bin:"));
    }
}
