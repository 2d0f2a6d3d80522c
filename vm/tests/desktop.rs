//! The files of vm/desktop, read by the programs that they are made for, where those are installed; each that is not
//! says so. The whole way into a disposable: tests/desktop.rs of the workspace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use common::{Done, Place, QUBES_VM, SERVE};
use fixture::eventually;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Debian's Python, which python3-gi belongs to; another one may stand earlier in PATH.
const PYTHON: &str = "/usr/bin/python3";
const INSTALLED: &str = "/usr/bin/qvm-open-in-dvm";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("desktop").join(name)
}

fn text_of(name: &str) -> String {
    fs::read_to_string(shipped(name)).unwrap()
}

/// Whether the program runs; if not, the test says so and ends.
fn is_installed(program: &str, args: &[&str]) -> bool {
    let runs = Command::new(program).args(args).output().is_ok_and(|output| output.status.success());
    if !runs {
        eprintln!("SKIPPED: {program} {} does not run here", args.join(" "));
    }
    runs
}

fn validate(file: &Path) -> Output {
    Command::new("desktop-file-validate").arg(file).output().unwrap()
}

fn mime_types(entry: &str) -> BTreeSet<String> {
    let line = entry.lines().find_map(|line| line.strip_prefix("MimeType=")).unwrap();
    line.split_terminator(';').map(str::to_owned).collect()
}

#[test]
fn entries_are_valid() {
    if !is_installed("desktop-file-validate", &["--help"]) {
        return;
    }
    for name in ["qvm-open-in-dvm.desktop", "qvm-view-in-dvm.desktop"] {
        let output = validate(&shipped("applications").join(name));
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    assert!(text_of("applications/qvm-open-in-dvm.desktop").contains(&format!("\nExec={INSTALLED} -- %U\n")));
    assert!(
        text_of("applications/qvm-view-in-dvm.desktop")
            .contains(&format!("\nExec={INSTALLED} --view-only -- %U\n"))
    );
    // Of KDE's file only the type is unknown to the validator.
    let top = tempfile::tempdir().unwrap();
    let copy = top.path().join("menu.desktop");
    fs::write(
        &copy,
        text_of("kde/qvm-dispvm.desktop").replace("\nType=Service\n", "\nType=Application\nExec=true\n"),
    )
    .unwrap();
    let output = validate(&copy);
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn l13_every_menu_has_both_entries_and_both_commands() {
    let pcmanfm =
        ["pcmanfm-qt/qvm-open-in-dvm.desktop", "pcmanfm-qt/qvm-view-in-dvm.desktop"].map(text_of).concat();
    for menu in [text_of("kde/qvm-dispvm.desktop"), text_of("thunar/actions.xml"), pcmanfm] {
        for verb in ["Open", "View"] {
            assert_eq!(menu.matches(&format!("{verb} in disposable")).count(), 1, "{menu}");
        }
        // Two dashes: no file name is taken for an option. L5: all files in one call.
        assert_eq!(menu.matches(&format!("{INSTALLED} -- %F")).count(), 1, "{menu}");
        assert_eq!(menu.matches(&format!("{INSTALLED} --view-only -- %F")).count(), 1, "{menu}");
    }
}

#[test]
fn l8_the_override_has_a_default_for_every_type_of_the_handler() {
    let handler = mime_types(&text_of("applications/qvm-open-in-dvm.desktop"));
    let defaults: BTreeSet<String> = text_of("xdg-override/applications/mimeapps.list")
        .lines()
        .filter_map(|line| line.strip_suffix("=qvm-open-in-dvm.desktop;"))
        .map(str::to_owned)
        .collect();
    assert_eq!(handler, defaults);
    let viewer = mime_types(&text_of("applications/qvm-view-in-dvm.desktop"));
    let files: BTreeSet<String> =
        handler.into_iter().filter(|name| !name.starts_with("x-scheme-handler/")).collect();
    assert_eq!(viewer, files);
}

/// A user of a desktop: our entries in a data directory of its own, and nothing of the machine's configuration.
fn desktop(place: &Place) -> PathBuf {
    let data = place.path("data");
    let applications = data.join("applications");
    fs::create_dir_all(&applications).unwrap();
    let program = place.path("qvm-open-in-dvm");
    symlink(QUBES_VM, &program).unwrap();
    for name in ["qvm-open-in-dvm.desktop", "qvm-view-in-dvm.desktop"] {
        let entry = text_of(&format!("applications/{name}")).replace(INSTALLED, program.to_str().unwrap());
        fs::write(applications.join(name), entry).unwrap();
    }
    fs::copy(shipped("xdg-override/applications/mimeapps.list"), applications.join("mimeapps.list")).unwrap();
    for (target, link) in links() {
        if !link.starts_with("applications/") {
            symlink(target, data.join(link)).unwrap();
        }
    }
    data
}

/// What the override directory links to, and by what name in it.
fn links() -> Vec<(String, String)> {
    let text = text_of("xdg-override/links");
    let pairs = text.lines().map(|line| {
        let (target, link) = line.split_once(" /usr/share/qubes/xdg-override/").unwrap();
        (target.to_owned(), link.to_owned())
    });
    pairs.collect()
}

#[test]
fn the_override_has_all_its_links() {
    for name in ["qvm-open-in-dvm.desktop", "qvm-view-in-dvm.desktop"] {
        let name = format!("applications/{name}");
        assert!(shipped(&name).exists());
        assert!(links().contains(&(format!("/usr/share/{name}"), name)));
    }
    for name in ["glib-2.0", "icons", "mime"] {
        assert!(links().contains(&(format!("/usr/share/{name}"), name.to_owned())));
    }
}

/// GTK ends a program that has no settings' schemas, Thunderbird when it asks where to save an attachment.
#[test]
fn a_program_of_the_override_has_the_schemas_of_its_settings() {
    if !is_installed("gsettings", &["--version"]) {
        return;
    }
    let place = Place::new(SERVE);
    let data = desktop(&place);
    let schemas = |directory: &Path| {
        let mut command = in_desktop(&place, directory, "gsettings");
        command.env("GSETTINGS_BACKEND", "memory").arg("list-schemas").output().unwrap()
    };
    let usual = schemas(Path::new("/usr/share"));
    if usual.stdout.is_empty() {
        eprintln!("SKIPPED: no GSettings schemas are installed here");
        return;
    }
    assert_eq!(schemas(&data).stdout, usual.stdout);
}

fn in_desktop(place: &Place, data: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    place.environment(&mut command, "sed -i s/draft/final/");
    // As qubes.StartApp sets it for a program whose files are all to be opened in disposables (spec/open-file.md 5.2).
    command.env("XDG_DATA_DIRS", data).env("XDG_CONFIG_DIRS", place.path("nothing"));
    command.env("XDG_CONFIG_HOME", place.path("config")).env("DISPLAY", ":none");
    command
}

/// What Thunderbird asks GIO for when an attachment is opened.
#[test]
fn l8_gio_opens_every_type_in_a_disposable() {
    if !is_installed(
        PYTHON,
        &["-c", "import gi; gi.require_version('Gio', '2.0'); from gi.repository import Gio"],
    ) {
        return;
    }
    let place = Place::new(SERVE);
    let data = desktop(&place);
    let script = r#"
import sys
from gi.repository import Gio
for name in sys.argv[1:]:
    app = Gio.AppInfo.get_default_for_type(name, False)
    print(name, app.get_id() if app else None)
"#;
    let types = mime_types(&text_of("applications/qvm-open-in-dvm.desktop"));
    let output = in_desktop(&place, &data, PYTHON).args(["-c", script]).args(&types).output().unwrap();
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), types.len(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in answers.lines() {
        assert!(line.ends_with(" qvm-open-in-dvm.desktop"), "{line}");
    }
}

#[test]
fn l4_l5_gio_open_passes_odd_names_and_several_files() {
    if !is_installed("gio", &["version"]) {
        return;
    }
    let place = Place::new(SERVE);
    let data = desktop(&place);
    let names = ["a report.txt", "c++ (1)&[2];$x%20.txt", "\u{fc}ber.txt"];
    let files = names.map(|name| place.file(name, "a draft"));
    Done::of(in_desktop(&place, &data, "gio").arg("open").args(&files).output().unwrap());
    for file in &files {
        eventually("the file is edited", || fs::read_to_string(file).unwrap() == "a final");
    }
}

#[test]
fn xdg_mime_and_xdg_open_find_the_handler() {
    if !is_installed("xdg-open", &["--version"]) {
        return;
    }
    let place = Place::new(SERVE);
    let data = desktop(&place);
    for name in ["application/pdf", "text/plain", "x-scheme-handler/https"] {
        let output = in_desktop(&place, &data, "xdg-mime").args(["query", "default", name]).output().unwrap();
        assert_eq!(output.stdout, b"qvm-open-in-dvm.desktop\n", "{name}: {output:?}");
    }
    let file = place.file("a report.txt", "a draft");
    assert!(in_desktop(&place, &data, "xdg-open").arg(&file).status().unwrap().success());
    eventually("the file is edited", || fs::read_to_string(&file).unwrap() == "a final");
    let mut link = in_desktop(&place, &data, "xdg-open");
    assert!(
        link.env("QUBES_OPEN_WITH", "true").arg("https://example.org/?a=b+c").status().unwrap().success()
    );
    eventually("the link is opened", || place.calls().ends_with("@dispvm qubes.OpenURL\n"));
}

/// Runs an extension under a real Python and gi, with the host program's own module or a stand-in for it.
fn extension(kind: &str, module: &str, file: &str) {
    if !is_installed(PYTHON, &["-c", "import gi"]) {
        return;
    }
    let import = format!("import gi.repository.{module}");
    if kind == "real" && !is_installed(PYTHON, &["-W", "ignore", "-c", &import]) {
        return;
    }
    let place = Place::new(SERVE);
    let program = place.path("qvm-open-in-dvm");
    symlink(QUBES_VM, &program).unwrap();
    let copy = place.path("extension.py");
    fs::write(&copy, text_of(file).replace(INSTALLED, program.to_str().unwrap())).unwrap();
    let names = ["a b%.txt", "\u{fc}.txt", "seen.txt", "recent.txt"];
    let files = names.map(|name| place.file(name, "a draft"));
    let mut command = Command::new(PYTHON);
    place.environment(&mut command, "sed -i s/draft/final/");
    let output =
        command.args(["-W", "ignore", "-c", TRIAL, kind, module]).arg(&copy).args(&files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["a b%.txt", "\u{fc}.txt", "recent.txt"] {
        let file = place.caller().join(name);
        eventually("the file is edited", || fs::read_to_string(&file).unwrap() == "a final");
    }
    eventually("the fourth call is made", || place.calls().lines().count() == 4);
    assert_eq!(fs::read_to_string(place.caller().join("seen.txt")).unwrap(), "a draft");
}

#[test]
fn l6_nautilus_extension_in_both_generations() {
    extension("stand-in", "Nautilus", "nautilus/qvm_dispvm_nautilus.py");
}

/// Debian: gir1.2-nautilus-4.0, before 12 gir1.2-nautilus-3.0.
#[test]
fn l6_nautilus_extension_with_the_module_that_is_installed() {
    extension("real", "Nautilus", "nautilus/qvm_dispvm_nautilus.py");
}

#[test]
fn caja_extension() {
    extension("stand-in", "Caja", "caja/qvm_dispvm_caja.py");
}

/// Debian: gir1.2-caja-2.0, which brings GTK; CI has it not.
#[test]
fn caja_extension_with_the_module_that_is_installed() {
    extension("real", "Caja", "caja/qvm_dispvm_caja.py");
}

const TRIAL: &str = r#"
import sys, types
import gi.repository
from gi.repository import Gio, GObject

class MenuItem(GObject.GObject):
    __gsignals__ = {"activate": (GObject.SignalFlags.RUN_FIRST, None, ())}
    label = GObject.Property(type=str)
    def __init__(self, name, label, tip):
        super().__init__(label=label)

class FileInfo:
    def __init__(self, uri, target=None, gone=False, directory=False):
        self.uri, self.target, self.gone, self.directory = uri, target, gone, directory
    def get_uri(self): return self.uri
    def get_uri_scheme(self): return self.uri.split(":")[0]
    def get_activation_uri(self): return self.target or self.uri
    def is_gone(self): return self.gone
    def is_directory(self): return self.directory

kind, name, path, *files = sys.argv[1:]
if kind == "stand-in":
    module = types.ModuleType("gi.repository." + name)
    module.MenuItem, module.MenuProvider = MenuItem, type("MenuProvider", (), {})
    sys.modules[module.__name__] = module
    setattr(gi.repository, name, module)
scope = {}
exec(compile(open(path).read(), path, "exec"), scope)
menu = scope["DisposableMenu"]()

first, second, seen, recent = (FileInfo(Gio.File.new_for_path(file).get_uri()) for file in files)
gone = FileInfo("file:///gone", gone=True)
recent = FileInfo("recent:///1", target=recent.uri)
def pick(items, label):
    labels = [item.props.label for item in items]
    assert labels == ["Open in disposable", "View in disposable"], labels
    return next(item for item in items if item.props.label.startswith(label))
# Version 4 of the interface, and 3; one vanished file does not stop the others.
pick(menu.get_file_items([first, gone, second]), "Open").emit("activate")
pick(menu.get_file_items(object(), [recent]), "Open").emit("activate")
pick(menu.get_file_items([seen]), "View").emit("activate")
for nothing in ([], [gone], [FileInfo("file:///tmp", directory=True)], [FileInfo("sftp://host/file")],
                [first, FileInfo("file:///tmp", directory=True)], [FileInfo("recent:///2", target="smb://h/f")]):
    assert menu.get_file_items(nothing) == [] == menu.get_file_items(object(), nothing)
assert menu.get_background_items(first) == [] == menu.get_background_items(object(), first)
"#;

fn thunar(verb: &str, file: &Path) -> Output {
    Command::new(shipped("thunar/actions")).arg(verb).arg(file).output().unwrap()
}

const UCA: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<actions>\n<action>\n\t<name>Terminal</name>\n\
                   \t<unique-id>1-1</unique-id>\n</action>\n</actions>\n";

#[test]
fn thunar_entries_go_in_and_out_of_a_file_of_others() {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("uca.xml");
    fs::write(&file, UCA).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let link = top.path().join("link.xml");
    symlink(&file, &link).unwrap();
    for _ in 0..2 {
        assert!(thunar("add", &link).status.success());
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches("<action>").count(), 3, "{text}");
        assert_eq!(text.matches("qubes-dispvm-").count(), 2, "{text}");
        assert!(
            text.contains("Terminal") && text.ends_with("</actions>\n") && !text.contains("<!--"),
            "{text}"
        );
    }
    if is_installed(PYTHON, &["-c", "import xml.etree"]) {
        let parse = "import sys, xml.etree.ElementTree as t; print(len(t.parse(sys.argv[1]).getroot()))";
        let output = Command::new(PYTHON).args(["-c", parse]).arg(&file).output().unwrap();
        assert_eq!(output.stdout, b"3\n", "{output:?}");
    }
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(thunar("remove", &link).status.success() && fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), UCA);
    let fresh = top.path().join("Thunar/uca.xml");
    assert!(thunar("add", &fresh).status.success());
    assert_eq!(fs::read_to_string(&fresh).unwrap().matches("<action>").count(), 2);
    let broken = top.path().join("broken.xml");
    fs::write(&broken, "<actions/>").unwrap();
    assert_eq!(thunar("add", &broken).status.code(), Some(1));
    assert_eq!(fs::read_to_string(&broken).unwrap(), "<actions/>");
    assert_eq!(thunar("", &file).status.code(), Some(2));
    let names: Vec<_> = fs::read_dir(top.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}
