//! Builds what runs in dom0: the host, and the tests as cargo compiled them.

use crate::error::LabError;
use crate::run::output;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One test executable.
pub(crate) struct Suite {
    pub(crate) name: String,
    /// Where it is in dom0.
    pub(crate) path: String,
}

/// Files for dom0's image.
pub(crate) struct Programs {
    /// Path in dom0, path here.
    pub(crate) files: Vec<(String, PathBuf)>,
    suites: Vec<Suite>,
}

impl Programs {
    pub(crate) fn build(cache: &Path) -> Result<Self, LabError> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        cargo.args(["test", "--no-run", "--message-format=json-render-diagnostics"]).args(WHAT);
        let messages = output("build the programs", &mut cargo)?;
        let stripped = cache.join("programs");
        fs::create_dir_all(&stripped).map_err(LabError::file("create", &stripped))?;
        let mut programs = Self { files: Vec::new(), suites: Vec::new() };
        for built in artifacts(&String::from_utf8_lossy(&messages)) {
            let small = strip(&built.executable, &stripped)?;
            if built.test {
                let path = format!("/lab/{}", built.name);
                programs.files.push((path.clone(), small));
                programs.suites.push(Suite { name: built.name, path });
            } else if built.name == "xen-lab" {
                // As cargo has just built it: the one that runs may be older.
                programs.files.push(("/lab/xen-lab".to_owned(), small));
            } else {
                // Tests know the programs under test by the path that these had when they were compiled.
                programs.files.push((built.executable.display().to_string(), small));
            }
        }
        programs.suites.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(programs)
    }

    /// Names of all tests, with their suites in front.
    pub(crate) fn names(&self) -> Result<Vec<String>, LabError> {
        let mut names = Vec::new();
        for suite in &self.suites {
            let file = self.files.iter().find(|(inside, _)| *inside == suite.path);
            if let Some((_, path)) = file {
                let mut list = Command::new(path);
                list.args(["--list", "--format", "terse", "--include-ignored"]);
                let text = output("list the tests", &mut list)?;
                let text = String::from_utf8_lossy(&text);
                let tests = text.lines().filter_map(|line| line.strip_suffix(": test"));
                names.extend(tests.map(|name| format!("{}::{name}", suite.name)));
            }
        }
        Ok(names)
    }

    /// The list for dom0: name, tabulator, path.
    pub(crate) fn suites(&self) -> String {
        self.suites.iter().map(|suite| format!("{}\t{}\n", suite.name, suite.path)).collect()
    }
}

/// What is built: the suites that run inside.
const WHAT: &[&str] = &[
    "--profile=lab",
    // Named, so that build scripts are not static: that of xenctrl-sys loads libclang.
    "--target=x86_64-unknown-linux-gnu",
    "-p",
    "xen-lab",
    "-p",
    "qubes-host",
    "--features",
    "xen-lab/xen,qubes-host/xen",
    "--test",
    "calls",
    "--test",
    "dispvm",
    "--test",
    "guests",
    "--test",
    "hypervisor",
    "--test",
    "keeper",
    "--test",
    "kill",
    "--test",
    "serve",
    "--test",
    "vchan",
];

struct Artifact {
    name: String,
    executable: PathBuf,
    test: bool,
}

/// The executables that cargo names in its messages (a JSON object a line).
fn artifacts(messages: &str) -> Vec<Artifact> {
    let parse = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let executable = PathBuf::from(message.get("executable")?.as_str()?);
        let target = message.get("target")?;
        let name = target.get("name")?.as_str()?.to_owned();
        let kind = target.get("kind")?.get(0)?.as_str()?;
        Some(Artifact { name, executable, test: kind == "test" })
    };
    messages.lines().filter_map(parse).collect()
}

/// A copy without symbols: the tests would fill half of dom0's memory. As it is where there is no `strip`.
fn strip(program: &Path, directory: &Path) -> Result<PathBuf, LabError> {
    let small = directory.join(program.file_name().unwrap_or_default());
    match output("strip", Command::new("strip").arg("-o").args([&small, &program.to_owned()])) {
        Ok(_) => Ok(small),
        Err(LabError::Missing { .. }) => Ok(program.to_owned()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::artifacts;

    #[test]
    fn executables_are_found_in_cargos_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"open\",\"kind\":[\"test\"]},\"executable\":\"/t/open-1\"}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"names\",\"kind\":[\"lib\"]},\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"qubes-host\",\"kind\":[\"bin\"]},\"executable\":\"/t/qubes-host\"}\n",
            "no json\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        let found = artifacts(messages).into_iter().map(|a| (a.name, a.test)).collect::<Vec<_>>();
        assert_eq!(found, [("open".to_owned(), true), ("qubes-host".to_owned(), false)]);
    }
}
