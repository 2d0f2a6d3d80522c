//! Runs a program to its end.

use crate::error::LabError;
use std::io::ErrorKind;
use std::process::{Command, Stdio};

/// What it printed on its standard output.
pub(crate) fn output(step: &'static str, command: &mut Command) -> Result<Vec<u8>, LabError> {
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().map_err(|source| {
        if source.kind() == ErrorKind::NotFound {
            let name = command.get_program().to_string_lossy().into_owned();
            LabError::Missing { what: format!("there is no program {name}"), remedy: REMEDY }
        } else {
            LabError::Io { step, object: line.clone(), source }
        }
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().rev().take(5).collect::<Vec<_>>();
    let said = said.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(LabError::Program { step, line, said })
}

/// What the lab wants of the machine that it runs on.
pub(crate) const REMEDY: &str = "the lab needs Debian 12 or later (amd64) with the packages apt, dpkg, qemu-system-x86, xz-utils and cpio";
