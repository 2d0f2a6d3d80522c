//! What the environment says to qvm-open-in-vm.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A reply may be this large, or [`REPLY_FACTOR`] times what was sent: a hostile service is not to fill the disk (S10).
const REPLY_FLOOR: u64 = 4 << 30;
const REPLY_FACTOR: u64 = 4;
/// Each open file is a disposable with its memory; dom0 has a limit of its own (promise P13).
const AT_ONCE: usize = 3;
const MOST_AT_ONCE: usize = 16;

pub(super) struct Settings {
    /// `QREXEC_CLIENT_VM`: the program that makes calls.
    client: Option<PathBuf>,
    /// Where we were started from.
    own_path: Option<PathBuf>,
    /// `QREXEC_SERVICE_FULL_NAME`: the service that we run under, if any.
    pub(super) service: Option<OsString>,
    /// `QUBES_STORY`: whether to tell what happened when all went well.
    pub(super) story: bool,
    /// `HOME`.
    pub(super) home: Option<PathBuf>,
    /// `QUBES_OPEN_MAX_REPLY`: the most bytes that are taken back.
    reply_limit: Option<u64>,
    /// `QUBES_OPEN_AT_ONCE`: how many files are open at the same time.
    pub(super) at_once: usize,
    /// Programs that can ask the user, best first.
    pub(super) dialogs: Vec<PathBuf>,
    /// `QUBES_OPEN_NOTIFY`, else the usual ones: programs that can show a notification, best first.
    pub(super) notifiers: Vec<PathBuf>,
    /// `DISPLAY` or `WAYLAND_DISPLAY`: whether there is a desktop.
    pub(super) desktop: bool,
}

impl Settings {
    pub(super) fn from_environment() -> Self {
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let given = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let usual = || vec!["/usr/bin/notify-send".into(), "/usr/bin/gdbus".into()];
        let at_once = env::var("QUBES_OPEN_AT_ONCE").ok().and_then(|text| text.parse().ok());
        Self {
            client: absolute("QREXEC_CLIENT_VM"),
            own_path: own_path(),
            service: env::var_os("QREXEC_SERVICE_FULL_NAME"),
            story: given("QUBES_STORY"),
            home: absolute("HOME"),
            reply_limit: env::var("QUBES_OPEN_MAX_REPLY").ok().and_then(|text| text.parse().ok()),
            at_once: at_once.unwrap_or(AT_ONCE).clamp(1, MOST_AT_ONCE),
            notifiers: absolute("QUBES_OPEN_NOTIFY").map_or_else(usual, |path| vec![path]),
            desktop: given("DISPLAY") || given("WAYLAND_DISPLAY"),
            dialogs: vec!["/usr/bin/zenity".into(), "/usr/bin/kdialog".into()],
        }
    }

    /// The program that makes calls: the named one, else one beside us, else one in the usual places.
    pub(super) fn client(&self) -> Option<PathBuf> {
        if let Some(named) = &self.client {
            return Some(named.clone());
        }
        let beside = self.own_path.as_deref().and_then(Path::parent).map(Path::to_owned);
        let usual = ["/run/qubes/bin", "/usr/lib/qubes", "/usr/bin"].map(PathBuf::from);
        beside
            .into_iter()
            .chain(usual)
            .map(|directory| directory.join("qrexec-client-vm"))
            .find(|path| is_program(path))
    }

    /// Where an edit goes that cannot stay beside its original.
    pub(super) fn refuges(&self) -> Vec<PathBuf> {
        self.home.iter().cloned().chain(["/tmp".into()]).collect()
    }

    /// The most bytes that are taken back for a file of `size` bytes.
    pub(super) fn reply_limit(&self, size: u64) -> u64 {
        self.reply_limit.unwrap_or_else(|| REPLY_FLOOR.max(size.saturating_mul(REPLY_FACTOR)))
    }
}

/// Where the shell found us: argv[0], looked up in PATH when it is a bare name.
fn own_path() -> Option<PathBuf> {
    let called = PathBuf::from(env::args_os().next()?);
    if called.as_os_str().as_encoded_bytes().contains(&b'/') {
        return Some(called);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(&called))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

impl Settings {
    /// Whether we run on behalf of another qube that opened something here (spec/open-file.md 1.1).
    pub(super) fn is_nested(&self) -> bool {
        let service = self.service.as_deref().map(OsStr::as_encoded_bytes).unwrap_or_default();
        service.starts_with(b"qubes.OpenInVM+") || service.starts_with(b"qubes.OpenURL+")
    }
}
